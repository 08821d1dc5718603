#include "tensor/codecs/i8_group.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "tensor/codecs/checks.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/rounding.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

std::uint64_t group_size_of(const CodecParams& params) {
  if (params.group_size >= 1) return static_cast<std::uint64_t>(params.group_size);
  throw Error(fmt::format("I8_GROUP has no group size {}", params.group_size), {}, "give a group size of 1 or more");
}

std::uint64_t groups_in(std::uint64_t cols, std::uint64_t group_size) {
  return cols / group_size + (cols % group_size != 0);
}

}  // namespace

std::uint64_t I8GroupCodec::column_alignment(const CodecParams& params) const { return group_size_of(params); }

std::vector<PartSpec> I8GroupCodec::parts(const Shape& shape, const CodecParams& params) const {
  return {{"values", DType::kI8, shape},
          {"scales", DType::kF32, with_cols(shape, groups_in(shape.cols(), group_size_of(params)))}};
}

void I8GroupCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                              std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const std::uint64_t cols = tensor.shape.cols(), group = group_size_of(tensor.params), groups = groups_in(cols, group);
  const std::uint64_t first_group = column / group;
  const Bytes values = tensor.part("values").slice(row * cols + column, out.size(), "values of a row");
  const Bytes scales = tensor.part("scales").slice((row * groups + first_group) * sizeof(float),
                                                   groups_in(out.size(), group) * sizeof(float), "scales of a row");
  for (std::uint64_t begin = 0, g = 0; begin < out.size(); begin += group, ++g) {
    float scale;
    std::memcpy(&scale, scales.data() + g * sizeof(float), sizeof(float));
    const std::uint64_t end = std::min<std::uint64_t>(begin + group, out.size());
    for (std::uint64_t i = begin; i < end; ++i) {
      out[i] = static_cast<float>(static_cast<std::int8_t>(values.data()[i])) * scale;
    }
  }
}

PackedTensor I8GroupCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                                  std::span<const float> importance, std::string name) const {
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), group = group_size_of(params);
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_importance(importance, cols, name);
  const std::vector<PartSpec> specs = parts(shape, params);
  auto integers = std::make_shared<std::vector<std::int8_t>>(values.size());
  auto scales = std::make_shared<std::vector<float>>(specs[1].shape.elements());
  float* scale = scales->data();
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<const float> row_values = values.subspan(row * cols, cols);
    check_finite(row_values, row, name);
    for (std::uint64_t begin = 0; begin < cols; begin += group, ++scale) {
      const std::uint64_t end = std::min(begin + group, cols);
      float largest = 0.0f;
      for (std::uint64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(row_values[i]));
      *scale = largest / 127.0f;
      const float inverse = safe_reciprocal(*scale);
      for (std::uint64_t i = begin; i < end; ++i) {
        (*integers)[row * cols + i] = static_cast<std::int8_t>(round_away(row_values[i] * inverse));
      }
    }
  }
  PackedTensor tensor{name, this, params, shape, {}};
  tensor.parts.push_back({specs[0], Bytes(std::as_bytes(std::span(*integers)), name, integers)});
  tensor.parts.push_back({specs[1], Bytes(std::as_bytes(std::span(*scales)), name, scales)});
  return tensor;
}

PackedTensor I8GroupCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  const std::uint64_t cols = tensor.shape.cols(), groups = groups_in(cols, group_size_of(tensor.params));
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  slice.parts = {{specs[0], part_rows(tensor.part("values"), cols, begin, end)},
                 {specs[1], part_rows(tensor.part("scales"), groups * sizeof(float), begin, end)}};
  return slice;
}

PackedTensor I8GroupCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), group = group_size_of(tensor.params);
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  slice.parts = {
      {specs[0], part_columns(tensor.part("values"), rows, cols, begin, end - begin)},
      {specs[1], part_columns(tensor.part("scales"), rows, groups_in(cols, group) * sizeof(float),
                              groups_in(begin, group) * sizeof(float), groups_in(end - begin, group) * sizeof(float))}};
  return slice;
}

}  // namespace lathe
