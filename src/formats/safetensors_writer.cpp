#include "formats/safetensors_writer.h"

#include <algorithm>

#include "base/cancel.h"
#include "base/json.h"
#include "base/progress.h"
#include "formats/gguf_reader.h"

namespace lathe::formats {
namespace {

// Kernels read vectors of up to 64 bytes; a mapped file is aligned when its data section is.
constexpr std::uint64_t kDataAlignment = 64;

std::string header_of(std::span<const SafetensorsItem> items, const SafetensorsMetadata& metadata) {
  auto header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const SafetensorsItem& item : items) {
    auto shape = nlohmann::json::array();
    for (int axis = 0; axis < item.shape.rank(); ++axis) shape.push_back(item.shape[axis]);
    const std::uint64_t end = offset + item.bytes();
    header[item.name] = {
        {"dtype", dtype_name(item.dtype)}, {"shape", std::move(shape)}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
  while ((8 + text.size()) % kDataAlignment != 0) text += ' ';
  return text;
}

std::uint64_t alignment_of(const SafetensorsItem& item) {
  return item.alignment != 0 ? item.alignment : dtype_bytes(item.dtype);
}

}  // namespace

std::uint64_t SafetensorsItem::bytes() const { return shape.elements() * dtype_bytes(dtype); }

SaveResult write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsItem> given,
                             const SafetensorsMetadata& metadata) {
  std::vector<SafetensorsItem> items(given.begin(), given.end());
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return alignment_of(a) > alignment_of(b); });
  AtomicFile file(path);
  const std::string header = header_of(items, metadata);
  file.write_value(std::uint64_t{header.size()});
  file.write(header);
  Progress progress(fmt::format("writing {}", path.filename().string()), items.size());
  for (const SafetensorsItem& item : items) {
    interrupt_token().check();
    const std::uint64_t begin = file.position();
    item.write(file);
    if (file.position() - begin != item.bytes()) {
      fail(path.string(), "tensor \"{}\" was to have {} bytes, but has {}", item.name, item.bytes(),
           file.position() - begin);
    }
    progress.advance();
  }
  const SaveResult result{items.size(), file.position()};
  file.commit();
  return result;
}

SaveResult write_sharded_safetensors(const std::filesystem::path& folder, std::span<const SafetensorsItem> items,
                                     const SafetensorsMetadata& metadata, std::uint64_t split_bytes) {
  std::vector<std::size_t> counts(1, 0);
  std::uint64_t size = 0, total = 0;
  for (const SafetensorsItem& item : items) {
    if (split_bytes > 0 && counts.back() > 0 && size + item.bytes() > split_bytes) {
      counts.push_back(0);
      size = 0;
    }
    ++counts.back();
    size += item.bytes();
    total += item.bytes();
  }
  if (counts.size() == 1) return write_safetensors(folder / "model.safetensors", items, metadata);
  auto map = nlohmann::json::object();
  SaveResult result;
  std::span<const SafetensorsItem> rest = items;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::string name = split_name("model", static_cast<std::uint32_t>(i) + 1,
                                        static_cast<std::uint32_t>(counts.size()), ".safetensors");
    for (const SafetensorsItem& item : rest.first(counts[i])) map[item.name] = name;
    const SaveResult part = write_safetensors(folder / name, rest.first(counts[i]), metadata);
    result.tensors += part.tensors;
    result.bytes += part.bytes;
    rest = rest.subspan(counts[i]);
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}};
  write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
  return result;
}

}  // namespace lathe::formats
