#include "tensor/codecs/balanced.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "base/half.h"
#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/group_walk.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

constexpr std::uint64_t kScaleBytes = sizeof(std::uint16_t);

void check_params(const CodecParams& params) {
  if (params.bits != 1 && params.bits != 2) {
    throw Error(fmt::format("BALANCED has no width of {} bits", params.bits), {}, "give 1 or 2 bits");
  }
  if (params.group_size < 0) {
    throw Error(fmt::format("BALANCED has no group size {}", params.group_size), {},
                "give a group size of 1 or more, or 0 for one group per row");
  }
  if (params.activation_bits < 0 || params.activation_bits > 8) {
    throw Error(fmt::format("BALANCED has no products with {}-bit activations", params.activation_bits), {},
                "give 1 to 8 bits, or none");
  }
}

std::uint64_t numbers_of(const CodecParams& params, std::uint64_t cols) {
  const auto count = static_cast<std::uint64_t>(balanced_digits(params.bits).count);
  return cols / count + (cols % count != 0);
}

// Bytes of the numbers of a row of `cols`.
std::uint64_t row_bytes(const CodecParams& params, std::uint64_t cols) {
  return checked_mul(static_cast<std::uint64_t>(balanced_digits(params.bits).number_bits),
                     plane_bytes(numbers_of(params, cols)), "bit planes");
}

void write_digits(std::span<const std::uint8_t> levels, const CodecParams& params, std::byte* out) {
  const BalancedDigits digits = balanced_digits(params.bits);
  const auto count = static_cast<std::size_t>(digits.count);
  std::vector<std::uint8_t> numbers(numbers_of(params, levels.size()));
  for (std::size_t i = levels.size(); i-- > 0;) {
    std::uint8_t& number = numbers[i / count];
    number = static_cast<std::uint8_t>(number * digits.base + levels[i]);
  }
  write_planes(numbers, digits.number_bits, out);
}

// Levels of one row. What a number has beyond its digits (in a damaged file) is dropped.
void read_digits(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> levels) {
  const BalancedDigits digits = balanced_digits(tensor.params.bits);
  const std::uint64_t stride = row_bytes(tensor.params, levels.size());
  std::vector<std::uint8_t> numbers(numbers_of(tensor.params, levels.size()));
  read_planes(tensor.part("numbers").slice(row * stride, stride, "numbers of a row").data(), digits.number_bits,
              plane_bytes(numbers.size()), 0, numbers);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::uint8_t& number = numbers[i / static_cast<std::size_t>(digits.count)];
    levels[i] = static_cast<std::uint8_t>(number % digits.base);
    number = static_cast<std::uint8_t>(number / digits.base);
  }
}

float scale_at(const PackedTensor& tensor, std::uint64_t index) {
  std::uint16_t half = 0;
  std::memcpy(&half, tensor.part("scales").data() + index * kScaleBytes, kScaleBytes);
  return float_from_half(half);
}

const IntGroupCodec& integers_codec() { return *int_group_codec(codec_named("INT_SYM")); }

CodecParams integers_params(CodecParams params) {
  ++params.bits;
  return params;
}

}  // namespace

const BalancedCodec* balanced_codec(const Codec& codec) { return dynamic_cast<const BalancedCodec*>(&codec); }

std::uint64_t BalancedCodec::column_alignment(const CodecParams& params) const {
  check_params(params);
  const std::uint64_t byte = 8 * static_cast<std::uint64_t>(balanced_digits(params.bits).count);
  return params.group_size == 0 ? byte : std::lcm<std::uint64_t>(byte, static_cast<std::uint64_t>(params.group_size));
}

std::vector<PartSpec> BalancedCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  const std::uint64_t cols = shape.cols();
  return {{"numbers", DType::kU8, with_cols(shape, row_bytes(params, cols))},
          {"scales", DType::kF16, with_cols(shape, int_groups(params, cols))}};
}

void BalancedCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                               std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const std::uint64_t cols = tensor.shape.cols();
  const std::uint64_t group = int_group_columns(tensor.params, cols), groups = int_groups(tensor.params, cols);
  const int zero = 1 << (tensor.params.bits - 1);
  std::vector<std::uint8_t> levels(cols);
  read_digits(tensor, row, levels);
  for (std::uint64_t i = 0; i < out.size(); ++i) {
    out[i] = scale_at(tensor, row * groups + (column + i) / group) * static_cast<float>(levels[column + i] - zero);
  }
}

PackedTensor balanced_as_integers(const PackedTensor& tensor) {
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), groups = int_groups(tensor.params, cols);
  const int below = 1 << (tensor.params.bits - 1);  // levels of the integers below the balanced ones
  const float zero = fixed_zero(IntGroupKind::kSymmetric, tensor.params.bits + 1);
  std::vector<std::uint8_t> levels(rows * cols);
  std::vector<IntGrid> grids;
  grids.reserve(rows * groups);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<std::uint8_t> own = std::span(levels).subspan(row * cols, cols);
    read_digits(tensor, row, own);
    for (std::uint8_t& level : own) level = static_cast<std::uint8_t>(level + below);
    for (std::uint64_t g = 0; g < groups; ++g) grids.push_back({scale_at(tensor, row * groups + g), zero});
  }
  return pack_int_groups(tensor.name, integers_codec(), tensor.shape, integers_params(tensor.params), levels, grids);
}

PackedTensor balanced_from_integers(const PackedTensor& integers) {
  const auto& codec = static_cast<const BalancedCodec&>(codec_named("BALANCED"));
  CodecParams params = integers.params;
  --params.bits;
  const std::vector<PartSpec> specs = codec.parts(integers.shape, params);
  const std::uint64_t rows = integers.shape.rows(), cols = integers.shape.cols(), stride = row_bytes(params, cols);
  const int below = 1 << (params.bits - 1), highest = 1 << params.bits;
  auto numbers = std::make_shared<std::vector<std::byte>>(rows * stride);
  std::vector<std::uint8_t> levels(cols);
  for (std::uint64_t row = 0; row < rows; ++row) {
    int_group_levels(integers, row, levels);
    for (std::uint8_t& level : levels) {
      if (level < below || level - below > highest) {
        fail(tensor_place(integers.name), "row {} has an integer that a balanced grid of {} bits has not", row,
             params.bits);
      }
      level = static_cast<std::uint8_t>(level - below);
    }
    write_digits(levels, params, numbers->data() + row * stride);
  }
  return {integers.name,
          &codec,
          params,
          integers.shape,
          {{specs[0], Bytes(*numbers, integers.name, numbers)}, {specs[1], integers.part("scales")}}};
}

PackedTensor BalancedCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                                   std::span<const float> importance, std::string name) const {
  check_params(params);
  const auto rounded = round_groups(
      values, shape, int_group_columns(params, shape.cols()), importance, this->name(), name,
      [&](std::span<const float> x, std::span<const float> weights) {
        return fit_balanced_grid(x, weights, params.bits);
      },
      [&](const auto& grid, float value) { return nearest_balanced_level(grid, value, params.bits); },
      [](const auto& grid) { return grid.scale; });
  return balanced_from_integers(
      pack_int_groups(name, integers_codec(), shape, integers_params(params), rounded.codes, rounded.grids));
}

PackedTensor BalancedCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  const std::uint64_t cols = tensor.shape.cols();
  slice.parts = {
      {specs[0], part_rows(tensor.part("numbers"), row_bytes(tensor.params, cols), begin, end)},
      {specs[1], part_rows(tensor.part("scales"), int_groups(tensor.params, cols) * kScaleBytes, begin, end)}};
  return slice;
}

PackedTensor BalancedCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const BalancedDigits digits = balanced_digits(tensor.params.bits);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t first_group = begin / int_group_columns(tensor.params, cols);
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, count);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  slice.parts = {{specs[0], part_columns(tensor.part("numbers"), rows * static_cast<std::uint64_t>(digits.number_bits),
                                         plane_bytes(numbers_of(tensor.params, cols)),
                                         begin / (8 * static_cast<std::uint64_t>(digits.count)),
                                         plane_bytes(numbers_of(tensor.params, count)))},
                 {specs[1], part_columns(tensor.part("scales"), rows, int_groups(tensor.params, cols) * kScaleBytes,
                                         first_group * kScaleBytes, int_groups(tensor.params, count) * kScaleBytes)}};
  return slice;
}

}  // namespace lathe
