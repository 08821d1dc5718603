// The parts of the backend interface that every device shares.
#include "kernels/backend.h"

#include <charconv>

#include "base/error.h"

namespace lathe::kernels {

std::string_view kv_codec_name(KvCodec codec) {
  switch (codec) {
    case KvCodec::kF32:
      return "f32";
    case KvCodec::kF16:
      return "f16";
    case KvCodec::kI8:
      return "int8";
  }
  return "?";
}

DeviceBuffer Backend::allocate_in_file(const std::filesystem::path&, std::uint64_t) {
  throw UsageError("has memory of its own and keeps nothing in files", std::string(name()),
                   "leave out --kv-disk, or use --device cpu");
}

void Backend::page_out(void*, std::uint64_t) {}

DeviceBuffer Backend::upload_floats(Stream& stream, std::span<const float> values) {
  DeviceBuffer buffer = allocate(values.size_bytes());
  if (!values.empty()) upload(stream, buffer.data(), values.data(), values.size_bytes());
  return buffer;
}

std::unique_ptr<Backend> make_backend(std::string_view device, const CpuOptions& cpu_options) {
  if (device == "cpu") return make_cpu_backend(cpu_options);
  if (device == "cuda") return make_cuda_backend(0);
  if (constexpr std::string_view kPrefix = "cuda:"; device.starts_with(kPrefix)) {
    const std::string_view number = device.substr(kPrefix.size());
    int index = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
    if (error == std::errc() && end == number.data() + number.size() && index >= 0) return make_cuda_backend(index);
  }
  throw UsageError(fmt::format("there is no device \"{}\"", device), {}, "use cpu, cuda, or cuda:<number>");
}

}  // namespace lathe::kernels
