#include "tensor/codecs/w8a8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "tensor/codecs/checks.h"
#include "tensor/codecs/lanes.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/rounding.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

constexpr float kMost = 127;
constexpr int kCandidates = 16;  // scales that a search tries
static_assert(kCandidates % kLanes == 0);
constexpr float kLeastInputScale = 1e-30f;  // smaller ones may have no inverse

float candidate(float largest, int number) {
  return largest / kMost * std::exp2(-static_cast<float>(number) / 6);  // down to 0.18 of the first
}

void check_params(const CodecParams& params) {
  if (params == CodecParams{}) return;
  throw Error("W8A8 has neither widths nor groups", {}, "leave bits and group size out");
}

// Weighted squared errors of a row under kLanes scales at once.
Lanes errors_of(std::span<const float> x, std::span<const float> weights, const float* scales) {
  float inverses[kLanes];
  for (int k = 0; k < kLanes; ++k) inverses[k] = safe_reciprocal(scales[k]);
  const Lanes scale = Lanes::of(scales), inverse = Lanes::of(inverses);
  Lanes errors;
  for (std::size_t c = 0; c < x.size(); ++c) {
    const Lanes off = Lanes::all(x[c]) - nearest_level(inverse * x[c], -kMost, kMost) * scale;
    errors = errors + off * off * (weights.empty() ? 1.0f : weights[c]);
  }
  return errors;
}

// The candidate of the least error, the first of equals.
float best_scale(std::span<const float> values, std::uint64_t cols, std::span<const float> weights, float largest) {
  double errors[kCandidates] = {};
  for (std::size_t begin = 0; begin < values.size(); begin += cols) {
    for (int first = 0; first < kCandidates; first += kLanes) {
      float scales[kLanes];
      for (int k = 0; k < kLanes; ++k) scales[k] = candidate(largest, first + k);
      const Lanes row = errors_of(values.subspan(begin, cols), weights, scales);
      for (int k = 0; k < kLanes; ++k) errors[first + k] += row[k];
    }
  }
  return candidate(largest, static_cast<int>(std::min_element(errors, errors + kCandidates) - errors));
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
                       std::span<const float> importance, const W8a8Input& input) {
  const Codec& codec = codec_named("W8A8");
  PartBuffers parts(codec.parts(shape, {}));
  const std::uint64_t cols = shape.cols();
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_importance(importance, cols, name);
  check_input(input, name);
  float largest = 0;
  for (std::uint64_t begin = 0, row = 0; begin < values.size(); begin += cols, ++row) {
    largest = std::max(largest, check_finite(values.subspan(begin, cols), row, name));
  }
  const float scales[] = {best_scale(values, cols, importance, largest), input.scale};
  if (!std::isfinite(scales[0] * kMost)) fail(tensor_place(name), "values up to {} are too large for W8A8", largest);
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
  return pack_w8a8(name, shape, values, importance, {});
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
