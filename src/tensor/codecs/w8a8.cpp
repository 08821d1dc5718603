#include "tensor/codecs/w8a8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "tensor/codecs/checks.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/rounding.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

constexpr float kMost = 127;
constexpr float kLeastInputScale = 1e-30f;  // smaller ones may have no inverse

void check_params(const CodecParams& params) {
  if (params == CodecParams{}) return;
  throw Error("W8A8 has neither widths nor groups", {}, "leave bits and group size out");
}

void check_input(const W8a8Input& input, std::string_view name) {
  if (std::isfinite(input.scale) && (input.scale == 0 || input.scale >= kLeastInputScale)) return;
  fail(tensor_place(name), "W8A8 cannot have {} for the scale of its inputs", input.scale);
}

}  // namespace

const W8a8Codec* w8a8_codec(const Codec& codec) { return dynamic_cast<const W8a8Codec*>(&codec); }

std::uint64_t W8a8Codec::column_alignment(const CodecParams& params) const {
  check_params(params);
  return 1;
}

std::vector<PartSpec> W8a8Codec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  if (shape.cols() > kW8a8MostColumns) {
    throw Error(fmt::format("W8A8 cannot hold rows of {} weights", shape.cols()), {},
                fmt::format("{} is the most", kW8a8MostColumns));
  }
  return {{"values", DType::kI8, shape}, {"scales", DType::kF32, Shape{2}}, {"shadow", DType::kU8, Shape{1}}};
}

W8a8Scales w8a8_scales(const PackedTensor& tensor) {
  W8a8Scales found;
  const Bytes scales = tensor.part("scales").slice(0, 2 * sizeof(float), "scales of W8A8");
  std::memcpy(&found.weight, scales.data(), sizeof(float));
  std::memcpy(&found.input.scale, scales.data() + sizeof(float), sizeof(float));
  const int shadow = std::to_integer<int>(*tensor.part("shadow").slice(0, 1, "shadow of W8A8").data());
  if (!(found.weight >= 0) || !std::isfinite(found.weight)) {
    fail(tensor_place(tensor.name), "W8A8 cannot have {} for the scale of its weights", found.weight);
  }
  check_input(found.input, tensor.name);
  if (shadow > 1) fail(tensor_place(tensor.name), "the shadow of W8A8 is 1 or 0, not {}", shadow);
  found.input.shadow = shadow == 1;
  return found;
}

std::span<const std::int8_t> w8a8_row(const PackedTensor& tensor, std::uint64_t row) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t cols = tensor.shape.cols();
  const Bytes values = tensor.part("values").slice(row * cols, cols, "values of a row");
  return {reinterpret_cast<const std::int8_t*>(values.data()), cols};
}

void W8a8Codec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                           std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const float scale = w8a8_scales(tensor).weight;
  const std::span<const std::int8_t> values = w8a8_row(tensor, row).subspan(column, out.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = scale * static_cast<float>(values[i]);
}

std::string W8a8Codec::remark(const PackedTensor& tensor) const {
  const W8a8Input input = w8a8_scales(tensor).input;
  if (input.scale == 0) return "inputs: a scale per row";
  return fmt::format("inputs: scale {:.4g}, shadow {}", input.scale, input.shadow ? "on" : "off");
}

PackedTensor pack_w8a8(const std::string& name, const Shape& shape, std::span<const float> values,
                       const W8a8Input& input) {
  const Codec& codec = codec_named("W8A8");
  PartBuffers parts(codec.parts(shape, {}));
  const std::uint64_t cols = shape.cols();
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_input(input, name);
  float largest = 0;
  for (std::uint64_t begin = 0, row = 0; begin < values.size(); begin += cols, ++row) {
    largest = std::max(largest, check_finite(values.subspan(begin, cols), row, name));
  }
  const float scales[] = {largest / kMost, input.scale};
  const float inverse = safe_reciprocal(scales[0]);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float level = nearest_level(values[i] * inverse, -kMost, kMost);
    parts[0][i] = static_cast<std::byte>(static_cast<std::int8_t>(level));
  }
  std::memcpy(parts[1], scales, sizeof scales);
  parts[2][0] = std::byte{input.shadow};
  return std::move(parts).finish(name, codec, {}, shape);
}

PackedTensor W8a8Codec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                               std::span<const float> importance, std::string name) const {
  check_params(params);
  check_importance(importance, shape.cols(), name);
  return pack_w8a8(name, shape, values, {});
}

PackedTensor W8a8Codec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  slice.parts[0] = {parts(slice.shape, {})[0], part_rows(tensor.part("values"), tensor.shape.cols(), begin, end)};
  return slice;
}

PackedTensor W8a8Codec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols();
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, end - begin);
  slice.parts[0] = {parts(slice.shape, {})[0], part_columns(tensor.part("values"), rows, cols, begin, end - begin)};
  return slice;
}

}  // namespace lathe
