#include "tensor/codecs/fdb.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/half.h"
#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/fdb_fit.h"
#include "tensor/codecs/group_walk.h"
#include "tensor/codecs/int_group.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

constexpr int kPlanes = 2;
constexpr std::uint64_t kGridBytes = 2 * sizeof(std::uint16_t);

void check_params(const CodecParams& params) {
  if (params.bits != kPlanes) {
    throw Error(fmt::format("FDB has no width of {} bits", params.bits), {}, "it has two planes: give 2 bits");
  }
  if (params.group_size < 0) {
    throw Error(fmt::format("FDB has no group size {}", params.group_size), {},
                "give a group size of 1 or more, or 0 for one group per row");
  }
}

FdbGrid grid_at(const std::byte* scales, std::uint64_t index) {
  std::uint16_t halves[2];
  std::memcpy(halves, scales + index * kGridBytes, sizeof halves);
  return {float_from_half(halves[0]), float_from_half(halves[1])};
}

bool is_half(float value) { return std::isfinite(value) && float_from_half(half_from_float(value)) == value; }

}  // namespace

const FdbCodec* fdb_codec(const Codec& codec) { return dynamic_cast<const FdbCodec*>(&codec); }

std::uint64_t FdbCodec::column_alignment(const CodecParams& params) const {
  check_params(params);
  return params.group_size == 0 ? 8 : std::lcm<std::uint64_t>(8, static_cast<std::uint64_t>(params.group_size));
}

std::vector<PartSpec> FdbCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  const std::uint64_t cols = shape.cols();
  return {{"planes", DType::kU8, with_cols(shape, checked_mul(kPlanes, plane_bytes(cols), "bit planes"))},
          {"scales", DType::kF16, with_cols(shape, checked_mul(2, int_groups(params, cols), "scales"))}};
}

void fdb_codes(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> codes) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t plane = plane_bytes(tensor.shape.cols());
  read_planes(tensor.part("planes").slice(row * kPlanes * plane, kPlanes * plane, "planes of a row").data(), kPlanes,
              plane, 0, codes.first(tensor.shape.cols()));
}

void fdb_grids(const PackedTensor& tensor, std::uint64_t row, std::span<FdbGrid> grids) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t groups = int_groups(tensor.params, tensor.shape.cols());
  const std::byte* scales = tensor.part("scales").data();
  for (std::uint64_t g = 0; g < groups; ++g) grids[g] = grid_at(scales, row * groups + g);
}

void FdbCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                          std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const std::uint64_t cols = tensor.shape.cols(), plane = plane_bytes(cols);
  const std::uint64_t group = int_group_columns(tensor.params, cols), groups = int_groups(tensor.params, cols);
  const Bytes planes = tensor.part("planes").slice(row * kPlanes * plane, kPlanes * plane, "planes of a row");
  const std::byte* scales = tensor.part("scales").data();
  constexpr std::size_t kChunk = 64;
  std::uint8_t codes[kChunk];
  for (std::size_t begin = 0; begin < out.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, out.size() - begin);
    read_planes(planes.data(), kPlanes, plane, (column + begin) / 8, std::span(codes, count));
    for (std::size_t i = 0; i < count; ++i) {
      out[begin + i] = grid_at(scales, row * groups + (column + begin + i) / group).value(codes[i]);
    }
  }
}

PackedTensor pack_fdb(const std::string& name, const Shape& shape, const CodecParams& params,
                      std::span<const std::uint8_t> codes, std::span<const FdbGrid> grids) {
  const auto& codec = static_cast<const FdbCodec&>(codec_named("FDB"));
  PartBuffers parts(codec.parts(shape, params));
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), groups = int_groups(params, cols);
  if (codes.size() != shape.elements() || grids.size() != rows * groups) {
    fail(tensor_place(name), "{} codes and {} scales for shape {}", codes.size(), grids.size(), shape.text());
  }
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (std::uint64_t g = 0; g < groups; ++g) {
      const FdbGrid& grid = grids[row * groups + g];
      if (!is_half(grid.first) || !is_half(grid.second)) {
        fail(tensor_place(name), "the scales {} and {} of row {}, group {} are no half-precision numbers", grid.first,
             grid.second, row, g);
      }
      const std::uint16_t halves[] = {half_from_float(grid.first), half_from_float(grid.second)};
      std::memcpy(parts[1] + (row * groups + g) * kGridBytes, halves, sizeof halves);
    }
    const std::span<const std::uint8_t> row_codes = codes.subspan(row * cols, cols);
    if (std::any_of(row_codes.begin(), row_codes.end(), [](std::uint8_t code) { return code > 3; })) {
      fail(tensor_place(name), "a code of row {} has more than two bits", row);
    }
    write_planes(row_codes, kPlanes, parts[0] + row * kPlanes * plane_bytes(cols));
  }
  return std::move(parts).finish(name, codec, params, shape);
}

PackedTensor FdbCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                              std::span<const float> importance, std::string name) const {
  check_params(params);
  const auto rounded = round_groups(
      values, shape, int_group_columns(params, shape.cols()), importance, this->name(), name,
      [&](std::span<const float> x, std::span<const float> weights) { return fit_fdb_grid(x, weights); },
      [&](const auto& grid, float value) { return nearest_fdb_code(grid, value); },
      [](const auto& grid) { return grid.first; });
  return pack_fdb(name, shape, params, rounded.codes, rounded.grids);
}

std::string FdbCodec::remark(const PackedTensor& tensor) const {
  std::uint64_t first = 0, second = 0;
  std::vector<std::uint8_t> codes(tensor.shape.cols());
  for (std::uint64_t row = 0; row < tensor.shape.rows(); ++row) {
    fdb_codes(tensor, row, codes);
    for (const std::uint8_t code : codes) first += code & 1, second += code >> 1;
  }
  const auto weights = static_cast<double>(std::max<std::uint64_t>(1, tensor.shape.elements()));
  return fmt::format("ones {:.1f}% {:.1f}%", 100 * static_cast<double>(first) / weights,
                     100 * static_cast<double>(second) / weights);
}

PackedTensor FdbCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  const std::uint64_t cols = tensor.shape.cols();
  slice.parts = {
      {specs[0], part_rows(tensor.part("planes"), kPlanes * plane_bytes(cols), begin, end)},
      {specs[1], part_rows(tensor.part("scales"), int_groups(tensor.params, cols) * kGridBytes, begin, end)}};
  return slice;
}

PackedTensor FdbCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t first_group = begin / int_group_columns(tensor.params, cols);
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, count);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  slice.parts = {
      {specs[0], part_columns(tensor.part("planes"), rows * kPlanes, plane_bytes(cols), begin / 8, plane_bytes(count))},
      {specs[1], part_columns(tensor.part("scales"), rows, int_groups(tensor.params, cols) * kGridBytes,
                              first_group * kGridBytes, int_groups(tensor.params, count) * kGridBytes)}};
  return slice;
}

}  // namespace lathe
