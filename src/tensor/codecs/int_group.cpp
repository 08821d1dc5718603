#include "tensor/codecs/int_group.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "base/half.h"
#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/group_walk.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

void check_params(const CodecParams& params, std::string_view codec) {
  if (params.bits < 1 || params.bits > 8) {
    throw Error(fmt::format("{} has no width of {} bits", codec, params.bits), {}, "give 1 to 8 bits");
  }
  if (params.group_size < 0) {
    throw Error(fmt::format("{} has no group size {}", codec, params.group_size), {},
                "give a group size of 1 or more, or 0 for one group per row");
  }
  if (params.activation_bits < 0 || params.activation_bits > 8) {
    throw Error(fmt::format("{} has no products with {}-bit activations", codec, params.activation_bits), {},
                "give 1 to 8 bits, or none");
  }
}

IntGrid grid_at(const PackedTensor& tensor, const std::byte* scales, const std::byte* zeros, std::uint64_t index) {
  std::uint16_t half = 0;
  std::memcpy(&half, scales + index * sizeof half, sizeof half);
  const float zero = zeros == nullptr ? fixed_zero(int_group_codec(*tensor.codec)->kind(), tensor.params.bits)
                                      : static_cast<float>(std::to_integer<int>(zeros[index]));
  return {float_from_half(half), zero};
}

// nullptr for codecs that store none.
const std::byte* zeros_of(const PackedTensor& tensor) {
  return int_group_codec(*tensor.codec)->stores_zeros() ? tensor.part("zeros").data() : nullptr;
}

}  // namespace

const IntGroupCodec* int_group_codec(const Codec& codec) { return dynamic_cast<const IntGroupCodec*>(&codec); }

std::uint64_t int_group_columns(const CodecParams& params, std::uint64_t cols) {
  return params.group_size == 0 ? std::max<std::uint64_t>(1, cols) : static_cast<std::uint64_t>(params.group_size);
}

std::uint64_t int_groups(const CodecParams& params, std::uint64_t cols) {
  const std::uint64_t group = int_group_columns(params, cols);
  return cols / group + (cols % group != 0);
}

float fixed_zero(IntGroupKind kind, int bits) {
  const float levels = std::ldexp(1.0f, bits);
  return kind == IntGroupKind::kBipolar || bits == 1 ? (levels - 1) / 2 : levels / 2;
}

std::string_view IntGroupCodec::name() const {
  switch (kind_) {
    case IntGroupKind::kSymmetric:
      return "INT_SYM";
    case IntGroupKind::kAsymmetric:
      return "INT_ASYM";
    case IntGroupKind::kBipolar:
      return "BIPOLAR";
  }
  return {};
}

std::string_view IntGroupCodec::description() const {
  switch (kind_) {
    case IntGroupKind::kSymmetric:
      return "integers of 1-8 bits, a half scale per group of any size";
    case IntGroupKind::kAsymmetric:
      return "integers of 1-8 bits, a half scale and a zero point per group of any size";
    case IntGroupKind::kBipolar:
      return "odd integers, every one of 1-8 bits a sign, a half scale per group of any size";
  }
  return {};
}

std::uint64_t IntGroupCodec::column_alignment(const CodecParams& params) const {
  check_params(params, name());
  return params.group_size == 0 ? 8 : std::lcm<std::uint64_t>(8, static_cast<std::uint64_t>(params.group_size));
}

std::vector<PartSpec> IntGroupCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params, name());
  const std::uint64_t cols = shape.cols(), groups = int_groups(params, cols);
  const std::uint64_t planes = checked_mul(static_cast<std::uint64_t>(params.bits), plane_bytes(cols), "bit planes");
  std::vector<PartSpec> specs = {{"planes", DType::kU8, with_cols(shape, planes)},
                                 {"scales", DType::kF16, with_cols(shape, groups)}};
  if (stores_zeros()) specs.push_back({"zeros", DType::kU8, with_cols(shape, groups)});
  return specs;
}

void IntGroupCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                               std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const int bits = tensor.params.bits;
  const std::uint64_t cols = tensor.shape.cols(), plane = plane_bytes(cols);
  const std::uint64_t group = int_group_columns(tensor.params, cols), groups = int_groups(tensor.params, cols);
  const std::uint64_t stride = static_cast<std::uint64_t>(bits) * plane;
  const Bytes planes = tensor.part("planes").slice(row * stride, stride, "planes of a row");
  const std::byte *scales = tensor.part("scales").data(), *zeros = zeros_of(tensor);
  constexpr std::size_t kChunk = 64;
  std::uint8_t levels[kChunk];
  IntGrid grid;
  std::uint64_t left_in_group = 0;
  for (std::size_t begin = 0; begin < out.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, out.size() - begin);
    read_planes(planes.data(), bits, plane, (column + begin) / 8, std::span(levels, count));
    for (std::size_t i = 0; i < count; ++i, --left_in_group) {
      if (left_in_group == 0) {
        const std::uint64_t at = column + begin + i;
        grid = grid_at(tensor, scales, zeros, row * groups + at / group);
        left_in_group = group - at % group;
      }
      out[begin + i] = grid.value(levels[i]);
    }
  }
}

PackedTensor IntGroupCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                                   std::span<const float> importance, std::string name) const {
  check_params(params, this->name());
  const auto rounded = round_groups(
      values, shape, int_group_columns(params, shape.cols()), importance, this->name(), name,
      [&](std::span<const float> x, std::span<const float> weights) {
        return fit_int_grid(x, weights, params.bits, kind_);
      },
      [&](const auto& grid, float value) { return nearest_int_level(grid, value, params.bits); },
      [](const auto& grid) { return grid.scale; });
  return pack_int_groups(name, *this, shape, params, rounded.codes, rounded.grids);
}

PackedTensor pack_int_groups(const std::string& name, const IntGroupCodec& codec, const Shape& shape,
                             const CodecParams& params, std::span<const std::uint8_t> levels,
                             std::span<const IntGrid> grids) {
  check_params(params, codec.name());
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), groups = int_groups(params, cols);
  if (levels.size() != shape.elements() || grids.size() != rows * groups) {
    fail(tensor_place(name), "{} integers and {} scales for shape {}", levels.size(), grids.size(), shape.text());
  }
  const auto highest = static_cast<std::uint8_t>((1 << params.bits) - 1);
  PartBuffers parts(codec.parts(shape, params));
  const std::uint64_t stride = static_cast<std::uint64_t>(params.bits) * plane_bytes(cols);
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (std::uint64_t g = 0; g < groups; ++g) {
      const IntGrid& grid = grids[row * groups + g];
      if (!std::isfinite(grid.scale) || float_from_half(half_from_float(grid.scale)) != grid.scale) {
        fail(tensor_place(name), "the scale {} of row {}, group {} is no half-precision number", grid.scale, row, g);
      }
      const bool storable = codec.stores_zeros()
                                ? grid.zero >= 0 && grid.zero <= 255 && grid.zero == std::floor(grid.zero)
                                : grid.zero == fixed_zero(codec.kind(), params.bits);
      if (!storable) {
        fail(tensor_place(name), "{} cannot store the zero point {} of row {}, group {}", codec.name(), grid.zero, row,
             g);
      }
      const std::uint16_t half = half_from_float(grid.scale);
      std::memcpy(parts[1] + (row * groups + g) * sizeof half, &half, sizeof half);
      if (codec.stores_zeros()) parts[2][row * groups + g] = static_cast<std::byte>(grid.zero);
    }
    const std::span<const std::uint8_t> row_levels = levels.subspan(row * cols, cols);
    if (std::any_of(row_levels.begin(), row_levels.end(), [&](std::uint8_t level) { return level > highest; })) {
      fail(tensor_place(name), "an integer of row {} has more than {} bits", row, params.bits);
    }
    write_planes(row_levels, params.bits, parts[0] + row * stride);
  }
  return std::move(parts).finish(name, codec, params, shape);
}

void int_group_levels(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> levels) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t plane = plane_bytes(tensor.shape.cols());
  const std::uint64_t stride = static_cast<std::uint64_t>(tensor.params.bits) * plane;
  read_planes(tensor.part("planes").slice(row * stride, stride, "planes of a row").data(), tensor.params.bits, plane, 0,
              levels.first(tensor.shape.cols()));
}

void int_group_grids(const PackedTensor& tensor, std::uint64_t row, std::span<IntGrid> grids) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t groups = int_groups(tensor.params, tensor.shape.cols());
  const std::byte *scales = tensor.part("scales").data(), *zeros = zeros_of(tensor);
  for (std::uint64_t g = 0; g < groups; ++g) grids[g] = grid_at(tensor, scales, zeros, row * groups + g);
}

PackedTensor IntGroupCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  const std::uint64_t rows = std::max<std::uint64_t>(1, tensor.shape.rows());
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    slice.parts[i] = {specs[i], part_rows(tensor.parts[i].data, tensor.parts[i].data.size() / rows, begin, end)};
  }
  return slice;
}

PackedTensor IntGroupCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t group = int_group_columns(tensor.params, cols), groups = int_groups(tensor.params, cols);
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, count);
  // One group per row stays one group per row.
  const std::uint64_t first_group = begin / group, kept = int_groups(tensor.params, count);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  // Planes count as rows of their own.
  const std::uint64_t plane_rows = rows * static_cast<std::uint64_t>(tensor.params.bits);
  slice.parts[0] = {specs[0],
                    part_columns(tensor.parts[0].data, plane_rows, plane_bytes(cols), begin / 8, plane_bytes(count))};
  for (std::size_t i = 1; i < specs.size(); ++i) {
    const std::uint64_t unit = dtype_bytes(specs[i].dtype);
    slice.parts[i] = {specs[i],
                      part_columns(tensor.parts[i].data, rows, groups * unit, first_group * unit, kept * unit)};
  }
  return slice;
}

}  // namespace lathe
