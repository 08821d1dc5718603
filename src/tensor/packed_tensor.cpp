#include "tensor/packed_tensor.h"

#include <memory>

#include "tensor/codecs/block_codec.h"

namespace lathe {

const Bytes& PackedTensor::part(std::string_view part_name) const {
  for (const Part& part : parts) {
    if (part.spec.name == part_name) return part.data;
  }
  fail(fmt::format("tensor \"{}\"", name), "there is no part named \"{}\"", part_name);
}

std::uint64_t PackedTensor::bytes() const {
  std::uint64_t total = 0;
  for (const Part& part : parts) total += part.data.size();
  return total;
}

double PackedTensor::bits_per_weight() const {
  return shape.elements() == 0 ? 0.0 : 8.0 * static_cast<double>(bytes()) / static_cast<double>(shape.elements());
}

std::vector<float> PackedTensor::to_floats() const {
  std::vector<float> values(shape.elements());
  const std::uint64_t cols = shape.cols();
  for (std::uint64_t row = 0; row < shape.rows(); ++row) {
    decode_row(row, std::span(values).subspan(row * cols, cols));
  }
  return values;
}

PackedTensor packed_blocks(std::string name, const Codec& codec, const Shape& shape, Bytes data) {
  const std::string where = fmt::format("{}, tensor \"{}\"", data.name(), name);
  const BlockFormat* format = block_format(codec);
  if (format == nullptr) fail(where, "{} does not lie in one array of blocks", codec.name());
  const std::uint64_t stride = row_bytes(*format, shape.cols(), where);
  const std::uint64_t needed = checked_mul(shape.rows(), stride, "bytes of a tensor", where);
  if (data.size() != needed) {
    throw Error(
        fmt::format("{} of shape {} needs {} bytes, but {} are there", codec.name(), shape.text(), needed, data.size()),
        where, "the file is truncated or damaged");
  }
  // Kernels read blocks through their structs, so bytes at an odd address (only damaged or unusual files have them)
  // move to memory of their own.
  if (reinterpret_cast<std::uintptr_t>(data.data()) % block_alignment(*format) != 0) {
    data = Bytes::copy_of(data.span(), data.name());
  }
  PackedTensor tensor{std::move(name), &codec, {}, shape, {}};
  tensor.parts.push_back({codec.parts(shape, {})[0], std::move(data)});
  return tensor;
}

PackedTensor pack(std::string name, const Codec& codec, const Shape& shape, std::span<const float> values,
                  const CodecParams& params, std::span<const float> importance) {
  return codec.encode(values, shape, params, importance, std::move(name));
}

PackedTensor repack(const PackedTensor& tensor, const Codec& codec, const CodecParams& params) {
  if (tensor.codec == &codec && tensor.params == params) return tensor;
  const BlockFormat* format = block_format(codec);
  if (format == nullptr) return pack(tensor.name, codec, tensor.shape, tensor.to_floats(), params);

  const std::string where = fmt::format("tensor \"{}\"", tensor.name);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols();
  const std::uint64_t stride = row_bytes(*format, cols, where);
  auto buffer = std::make_shared<std::vector<std::byte>>(checked_mul(rows, stride, "bytes of a tensor", where));
  std::vector<float> values(cols);
  for (std::uint64_t row = 0; row < rows; ++row) {
    tensor.decode_row(row, values);
    encode_rows(*format, values, cols, {}, std::span(*buffer).subspan(row * stride, stride), tensor.name);
  }
  return packed_blocks(tensor.name, codec, tensor.shape, Bytes(*buffer, tensor.name, buffer));
}

}  // namespace lathe
