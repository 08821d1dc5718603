#include "tensor/packed_tensor.h"

#include <memory>

#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/checks.h"

namespace lathe {

const Bytes& PackedTensor::part(std::string_view part_name) const {
  for (const Part& part : parts) {
    if (part.spec.name == part_name) return part.data;
  }
  fail(tensor_place(name), "there is no part named \"{}\"", part_name);
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

PackedTensor packed_parts(std::string name, const Codec& codec, const Shape& shape, const CodecParams& params,
                          std::vector<Bytes> data) {
  const std::string where =
      data.empty() ? tensor_place(name) : fmt::format("{}, {}", data[0].name(), tensor_place(name));
  const std::vector<PartSpec> specs = [&] {
    try {
      return codec.parts(shape, params);
    } catch (const Error& error) {
      throw error.within(where);
    }
  }();
  if (specs.size() != data.size()) fail(where, "{} has {} parts, not {}", codec.name(), specs.size(), data.size());
  const BlockFormat* format = block_format(codec);
  PackedTensor tensor{std::move(name), &codec, params, shape, {}};
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::uint64_t unit = dtype_bytes(specs[i].dtype);
    const std::uint64_t needed = checked_mul(specs[i].shape.elements(), unit, "bytes of a tensor", where);
    if (data[i].size() != needed) {
      throw Error(fmt::format("{} of shape {} needs {} bytes of {}, but {} are there", codec.name(), shape.text(),
                              needed, specs[i].name, data[i].size()),
                  where, "the file is truncated or damaged");
    }
    // Kernels read blocks through their structs, so bytes at an odd address (only damaged or unusual files have them)
    // move to memory of their own.
    const std::uint64_t alignment = format == nullptr ? unit : block_alignment(*format);
    if (reinterpret_cast<std::uintptr_t>(data[i].data()) % alignment != 0) {
      data[i] = Bytes::copy_of(data[i].span(), data[i].name());
    }
    tensor.parts.push_back({specs[i], std::move(data[i])});
  }
  return tensor;
}

PackedTensor packed_blocks(std::string name, const Codec& codec, const Shape& shape, Bytes data) {
  if (block_format(codec) == nullptr) fail(tensor_place(name), "{} is not one array of blocks", codec.name());
  return packed_parts(std::move(name), codec, shape, {}, {std::move(data)});
}

PackedTensor pack(std::string name, const Codec& codec, const Shape& shape, std::span<const float> values,
                  const CodecParams& params, std::span<const float> importance) {
  return codec.encode(values, shape, params, importance, std::move(name));
}

PackedTensor repack(const PackedTensor& tensor, const Codec& codec, const CodecParams& params) {
  if (tensor.codec == &codec && tensor.params == params) return tensor;
  const BlockFormat* format = block_format(codec);
  if (format == nullptr) return pack(tensor.name, codec, tensor.shape, tensor.to_floats(), params);

  const std::string where = tensor_place(tensor.name);
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
