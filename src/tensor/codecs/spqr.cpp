#include "tensor/codecs/spqr.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "base/half.h"
#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/rounding.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

constexpr std::uint64_t kMostColumns = 1 << 16;
constexpr std::uint64_t kTileNumbers = 4;
constexpr float kHighestCode = static_cast<float>((1 << kSpqrCodeBits) - 1);
constexpr float kLargestHalf = 65504;
constexpr double kEncodedOutliers = 0.01;  // of the weights
constexpr int kGridPlanes = 2 * kSpqrCodeBits;

void check_params(const CodecParams& params) {
  if (params.bits < 2 || params.bits > 4) {
    throw Error(fmt::format("SPQR has no width of {} bits", params.bits), {}, "give 2 to 4 bits");
  }
  if (params.group_size < 1) {
    throw Error(fmt::format("SPQR has no group size {}", params.group_size), {}, "give a group size of 1 or more");
  }
  if (params.row_shift < 0 || params.row_shift >= static_cast<int>(kSpqrTileRows)) {
    throw Error(fmt::format("SPQR rows cannot begin at row {} of a tile of {}", params.row_shift, kSpqrTileRows));
  }
}

std::uint64_t tiles_of(std::uint64_t rows, const CodecParams& params) {
  return rows == 0 ? 0 : (rows + static_cast<std::uint64_t>(params.row_shift) + kSpqrTileRows - 1) / kSpqrTileRows;
}

std::uint64_t level_bytes(const PackedTensor& tensor) {  // of a row
  return static_cast<std::uint64_t>(tensor.params.bits) * plane_bytes(tensor.shape.cols());
}
std::uint64_t grid_bytes(const PackedTensor& tensor) {
  return kGridPlanes * plane_bytes(spqr_groups(tensor.params, tensor.shape.cols()));
}

template <class T>
T load(const Bytes& part, std::uint64_t index) {
  T value;
  std::memcpy(&value, part.slice(index * sizeof(T), sizeof(T), "a number of SPQR").data(), sizeof value);
  return value;
}

struct OutlierRange {
  std::uint64_t begin = 0, end = 0;  // in the part "outliers"
};
OutlierRange outlier_range(const PackedTensor& tensor, std::uint64_t begin_row, std::uint64_t end_row) {
  const Bytes& ends = tensor.part("ends");
  const std::uint64_t first = load<std::uint32_t>(ends, 0), begin = load<std::uint32_t>(ends, begin_row),
                      end = load<std::uint32_t>(ends, end_row);
  const std::uint64_t last = load<std::uint32_t>(ends, tensor.shape.rows());
  if (begin < first || end < begin || last < end || last - first != tensor.params.stored) {
    throw Error(fmt::format("the outliers of rows [{}, {}) are not inside the {} that are there", begin_row, end_row,
                            tensor.params.stored),
                tensor_place(tensor.name), "the file is damaged");
  }
  return {begin - first, end - first};
}

Bytes owned(std::vector<std::byte> bytes, const std::string& name) {
  auto buffer = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  return Bytes(*buffer, name, buffer);
}

}  // namespace

const SpqrCodec* spqr_codec(const Codec& codec) { return dynamic_cast<const SpqrCodec*>(&codec); }

std::uint64_t spqr_groups(const CodecParams& params, std::uint64_t cols) {
  const auto group = static_cast<std::uint64_t>(params.group_size);
  return cols / group + (cols % group != 0);
}

std::uint64_t SpqrCodec::column_alignment(const CodecParams& params) const {
  check_params(params);
  if (ordered_) return kMostColumns;                         // whole rows
  return 8 * static_cast<std::uint64_t>(params.group_size);  // whole bytes of the codes' planes
}

std::vector<PartSpec> SpqrCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  const std::uint64_t rows = shape.rows(), cols = shape.cols();
  if (cols > kMostColumns) {
    throw Error(fmt::format("SPQR cannot hold rows of {} weights", cols), {}, "it can hold 65536");
  }
  const std::uint64_t groups = spqr_groups(params, cols);
  std::vector<PartSpec> specs = {
      {"planes", DType::kU8, with_cols(shape, static_cast<std::uint64_t>(params.bits) * plane_bytes(cols))},
      {"grids", DType::kU8, with_cols(shape, kGridPlanes * plane_bytes(groups))},
      {"tiles", DType::kF16, Shape{tiles_of(rows, params), kTileNumbers * groups}}};
  if (params.stored > checked_mul(rows, cols, "weights of a tensor")) {
    throw Error(fmt::format("SPQR cannot have {} outliers among {} weights", params.stored, rows * cols));
  }
  if (params.stored > 0) {
    specs.push_back({"ends", DType::kU32, Shape{rows + 1}});
    specs.push_back({"outliers", DType::kU32, Shape{params.stored}});
  }
  if (ordered_) specs.push_back({"order", DType::kU16, Shape{cols}});
  return specs;
}

std::vector<std::uint32_t> spqr_order(const PackedTensor& tensor) {
  if (!spqr_codec(*tensor.codec)->ordered()) return {};
  const Bytes& part = tensor.part("order");
  std::vector<std::uint32_t> order(tensor.shape.cols());
  std::vector<bool> seen(order.size());
  for (std::size_t j = 0; j < order.size(); ++j) {
    order[j] = load<std::uint16_t>(part, j);
    if (order[j] >= order.size() || seen[order[j]]) {
      throw Error("the order of its columns does not name every column once", tensor_place(tensor.name),
                  "the file is damaged");
    }
    seen[order[j]] = true;
  }
  return order;
}

void spqr_levels(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> levels) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t stride = level_bytes(tensor);
  read_planes(tensor.part("planes").slice(row * stride, stride, "planes of a row").data(), tensor.params.bits,
              plane_bytes(tensor.shape.cols()), 0, levels.first(tensor.shape.cols()));
}

void spqr_codes(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> scales,
                std::span<std::uint8_t> zeros) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t stride = grid_bytes(tensor), groups = spqr_groups(tensor.params, tensor.shape.cols());
  const Bytes planes = tensor.part("grids").slice(row * stride, stride, "grids of a row");
  read_planes(planes.data(), kSpqrCodeBits, plane_bytes(groups), 0, scales.first(groups));
  read_planes(planes.data() + stride / 2, kSpqrCodeBits, plane_bytes(groups), 0, zeros.first(groups));
}

SpqrTile spqr_tile(const PackedTensor& tensor, std::uint64_t row, std::uint64_t group) {
  const std::uint64_t tile = (row + static_cast<std::uint64_t>(tensor.params.row_shift)) / kSpqrTileRows;
  const std::uint64_t at = (tile * spqr_groups(tensor.params, tensor.shape.cols()) + group) * kTileNumbers;
  const Bytes& tiles = tensor.part("tiles");
  const auto number = [&](std::uint64_t i) { return float_from_half(load<std::uint16_t>(tiles, at + i)); };
  return {number(0), number(1), number(2), number(3)};
}

std::vector<SpqrOutlier> spqr_outliers(const PackedTensor& tensor, std::uint64_t row) {
  std::vector<SpqrOutlier> found;
  if (tensor.params.stored == 0) return found;
  const OutlierRange range = outlier_range(tensor, row, row + 1);
  const Bytes& outliers = tensor.part("outliers");
  for (std::uint64_t i = range.begin; i < range.end; ++i) {
    const auto entry = load<std::uint32_t>(outliers, i);
    const std::uint32_t column = entry & 0xffff;
    if (column >= tensor.shape.cols() || (!found.empty() && column <= found.back().column)) {
      throw Error(fmt::format("the outliers of row {} are not in the order of their columns", row),
                  tensor_place(tensor.name), "the file is damaged");
    }
    found.push_back({column, float_from_half(static_cast<std::uint16_t>(entry >> 16))});
  }
  return found;
}

namespace {

// Stored columns [column, column + out.size()) of a row.
void decode_stored(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column, std::span<float> out) {
  const std::uint64_t cols = tensor.shape.cols(), group = static_cast<std::uint64_t>(tensor.params.group_size);
  const std::uint64_t groups = spqr_groups(tensor.params, cols);
  std::vector<std::uint8_t> levels(cols), scales(groups), zeros(groups);
  spqr_levels(tensor, row, levels);
  spqr_codes(tensor, row, scales, zeros);
  for (std::uint64_t i = 0; i < out.size();) {
    const std::uint64_t g = (column + i) / group, end = std::min<std::uint64_t>(out.size(), (g + 1) * group - column);
    const SpqrGrid grid = spqr_tile(tensor, row, g).grid(scales[g], zeros[g]);
    for (; i < end; ++i) out[i] = grid.value(levels[column + i]);
  }
  for (const SpqrOutlier& outlier : spqr_outliers(tensor, row)) {
    if (outlier.column >= column && outlier.column - column < out.size()) out[outlier.column - column] = outlier.value;
  }
}

}  // namespace

void SpqrCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                           std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  if (!ordered_ || out.empty()) return decode_stored(tensor, row, column, out);
  const std::vector<std::uint32_t> order = spqr_order(tensor);
  std::vector<float> stored(order.size());
  decode_stored(tensor, row, 0, stored);
  for (std::size_t j = 0; j < order.size(); ++j) out[order[j]] = stored[j];
}

SpqrGrid cover_spqr_grid(std::span<const float> x, int bits) {
  float low = 0, high = 0;
  for (const float value : x) low = std::min(low, value), high = std::max(high, value);
  const float scale = (high - low) / static_cast<float>((1 << bits) - 1);
  return {scale, -low * safe_reciprocal(scale)};
}

int nearest_spqr_level(const SpqrGrid& grid, float x, int bits) {
  const float level = x * safe_reciprocal(grid.scale) + grid.zero;
  return static_cast<int>(nearest_level(level, 0, static_cast<float>((1 << bits) - 1)));
}

void spqr_leave_one_out(std::span<const float> x, std::span<const float> costs, int bits, std::span<float> gains) {
  const SpqrGrid all = cover_spqr_grid(x, bits);
  const auto loss = [&](const SpqrGrid& grid, std::size_t i) {
    const float error = x[i] - grid.value(nearest_spqr_level(grid, x[i], bits));
    return error * error * costs[i];
  };
  float total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) gains[i] = loss(all, i), total += gains[i];
  // Only without its lowest or highest value has a group another grid.
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  std::vector<float> others;
  for (const auto extreme : {low, high}) {
    const auto k = static_cast<std::size_t>(extreme - x.begin());
    others.assign(x.begin(), x.end());
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(k));
    const SpqrGrid grid = cover_spqr_grid(others, bits);
    float rest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) rest += i == k ? 0 : loss(grid, i);
    gains[k] = total - rest;
  }
}

SpqrTile round_spqr_grids(std::span<SpqrGrid> grids, SpqrCodes& codes) {
  const auto round = [&](float SpqrGrid::*number, auto& code, float& min, float& step) {
    float low = grids[0].*number, high = low;
    for (const SpqrGrid& grid : grids) low = std::min(low, grid.*number), high = std::max(high, grid.*number);
    min = float_from_half(half_from_float(low));
    step = float_from_half(half_from_float((high - low) / kHighestCode));
    for (std::size_t r = 0; r < grids.size(); ++r) {
      const float nearest = nearest_level((grids[r].*number - min) * safe_reciprocal(step), 0, kHighestCode);
      code[r] = static_cast<std::uint8_t>(nearest);
    }
  };
  SpqrTile tile;
  round(&SpqrGrid::scale, codes.scale, tile.scale_min, tile.scale_step);
  round(&SpqrGrid::zero, codes.zero, tile.zero_min, tile.zero_step);
  for (std::size_t r = 0; r < grids.size(); ++r) grids[r] = tile.grid(codes.scale[r], codes.zero[r]);
  return tile;
}

SpqrWeights::SpqrWeights(const Shape& shape, const CodecParams& params)
    : levels(shape.elements()),
      scale_codes(shape.rows() * spqr_groups(params, shape.cols())),
      zero_codes(scale_codes.size()),
      tiles((shape.rows() + kSpqrTileRows - 1) / kSpqrTileRows * spqr_groups(params, shape.cols())),
      row_outliers(shape.rows()) {}

void SpqrWeights::set_grids(std::uint64_t row, std::uint64_t group, const SpqrTile& tile, const SpqrCodes& codes,
                            std::uint64_t rows) {
  const std::uint64_t groups = scale_codes.size() / row_outliers.size();
  tiles[row / kSpqrTileRows * groups + group] = tile;
  for (std::uint64_t r = 0; r < rows; ++r) {
    scale_codes[(row + r) * groups + group] = codes.scale[r];
    zero_codes[(row + r) * groups + group] = codes.zero[r];
  }
}

PackedTensor pack_spqr(const std::string& name, const Shape& shape, CodecParams params, const SpqrWeights& weights) {
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), groups = spqr_groups(params, cols);
  params.row_shift = 0;
  params.stored = 0;
  for (const auto& outliers : weights.row_outliers) params.stored += outliers.size();
  const Codec& codec = codec_named(weights.order.empty() ? "SPQR" : "SPQR_ORDERED");
  const std::vector<PartSpec> specs = codec.parts(shape, params);

  const std::uint64_t level_stride = static_cast<std::uint64_t>(params.bits) * plane_bytes(cols);
  const std::uint64_t code_stride = kSpqrCodeBits * plane_bytes(groups);
  std::vector<std::byte> planes(rows * level_stride), grids(rows * 2 * code_stride), tiles, ends, outliers, order;
  const auto append = [](std::vector<std::byte>& to, auto number) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&number);
    to.insert(to.end(), bytes, bytes + sizeof number);
  };
  const auto half = [&](float value, std::uint64_t row, std::uint64_t group) {
    const std::uint16_t bits = half_from_float(value);
    if (!std::isfinite(float_from_half(bits))) {
      fail(tensor_place(name), "the weights of row {}, group {} are too large for SPQR, or not finite", row, group);
    }
    return bits;
  };
  for (std::uint64_t row = 0; row < rows; ++row) {
    write_planes(std::span(weights.levels).subspan(row * cols, cols), params.bits, planes.data() + row * level_stride);
    std::byte* codes = grids.data() + row * 2 * code_stride;
    write_planes(std::span(weights.scale_codes).subspan(row * groups, groups), kSpqrCodeBits, codes);
    write_planes(std::span(weights.zero_codes).subspan(row * groups, groups), kSpqrCodeBits, codes + code_stride);
    append(ends, static_cast<std::uint32_t>(outliers.size() / sizeof(std::uint32_t)));
    for (const SpqrOutlier& outlier : weights.row_outliers[row]) {
      const std::uint16_t value = half(outlier.value, row, outlier.column / static_cast<unsigned>(params.group_size));
      append(outliers, static_cast<std::uint32_t>(value) << 16 | outlier.column);
    }
  }
  append(ends, static_cast<std::uint32_t>(params.stored));
  for (std::uint64_t i = 0; i < weights.tiles.size(); ++i) {
    const SpqrTile& tile = weights.tiles[i];
    for (const float number : {tile.scale_min, tile.scale_step, tile.zero_min, tile.zero_step}) {
      append(tiles, half(number, i / groups * kSpqrTileRows, i % groups));
    }
  }
  for (const std::uint32_t column : weights.order) append(order, static_cast<std::uint16_t>(column));
  std::vector<std::byte>* const arrays[] = {&planes, &grids, &tiles, &ends, &outliers, &order};
  PackedTensor tensor{name, &codec, params, shape, {}};
  for (std::vector<std::byte>* const array : arrays) {
    if (params.stored == 0 && (array == &ends || array == &outliers)) continue;
    if (tensor.parts.size() == specs.size()) break;
    tensor.parts.push_back({specs[tensor.parts.size()], owned(std::move(*array), name)});
  }
  return tensor;
}

namespace {

// What encode() makes of `values`, whose columns are in the order in which they are stored; `costs`: one per column.
SpqrWeights choose_weights(std::span<const float> values, const Shape& shape, const CodecParams& params,
                           std::span<const float> costs) {
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), group = static_cast<std::uint64_t>(params.group_size);
  SpqrWeights weights(shape, params);
  std::vector<float> x, gains;
  std::vector<std::uint32_t> order;
  for (std::uint64_t first = 0; first < rows; first += kSpqrTileRows) {
    const std::uint64_t count = std::min(kSpqrTileRows, rows - first), elements = count * cols;
    x.assign(values.begin() + static_cast<std::ptrdiff_t>(first * cols),
             values.begin() + static_cast<std::ptrdiff_t>(first * cols + elements));
    gains.resize(elements);
    const auto for_each_group = [&](const auto& body) {  // of a row: where it lies in x, in the columns, its width
      for (std::uint64_t begin = 0; begin < cols; begin += group) {
        for (std::uint64_t r = 0; r < count; ++r) body(r * cols + begin, begin, std::min(group, cols - begin));
      }
    };
    for_each_group([&](std::uint64_t at, std::uint64_t begin, std::uint64_t width) {
      spqr_leave_one_out(std::span(x).subspan(at, width), costs.subspan(begin, width), params.bits,
                         std::span(gains).subspan(at, width));
    });
    const auto outliers = static_cast<std::ptrdiff_t>(static_cast<double>(elements) * kEncodedOutliers);
    order.resize(elements);
    std::iota(order.begin(), order.end(), 0u);
    std::partial_sort(order.begin(), order.begin() + outliers, order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return gains[a] != gains[b] ? gains[a] > gains[b] : a < b;
    });
    std::sort(order.begin(), order.begin() + outliers);
    for (std::ptrdiff_t i = 0; i < outliers; ++i) {
      const std::uint32_t at = order[static_cast<std::size_t>(i)];
      const float stored = float_from_half(half_from_float(x[at]));
      weights.row_outliers[first + at / cols].push_back({static_cast<std::uint32_t>(at % cols), stored});
      x[at] = 0;
    }
    for (std::uint64_t begin = 0; begin < cols; begin += group) {
      const std::uint64_t width = std::min(group, cols - begin);
      std::array<SpqrGrid, kSpqrTileRows> grids;
      for (std::uint64_t r = 0; r < count; ++r) {
        grids[r] = cover_spqr_grid(std::span(x).subspan(r * cols + begin, width), params.bits);
      }
      SpqrCodes codes;
      const SpqrTile tile = round_spqr_grids(std::span(grids).first(count), codes);
      weights.set_grids(first, begin / group, tile, codes, count);
      for (std::uint64_t r = 0; r < count; ++r) {
        for (std::uint64_t c = begin; c < begin + width; ++c) {
          weights.levels[(first + r) * cols + c] =
              static_cast<std::uint8_t>(nearest_spqr_level(grids[r], x[r * cols + c], params.bits));
        }
      }
    }
  }
  return weights;
}

// Columns by their squares times costs, the largest first.
std::vector<std::uint32_t> falling_order(std::span<const float> values, std::span<const float> costs) {
  const std::size_t cols = costs.size();
  std::vector<double> sizes(cols);
  for (std::size_t i = 0; i < values.size(); ++i) sizes[i % cols] += double{values[i]} * values[i];
  for (std::size_t c = 0; c < cols; ++c) sizes[c] *= costs[c];
  std::vector<std::uint32_t> order(cols);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return sizes[a] > sizes[b]; });
  return order;
}

}  // namespace

PackedTensor SpqrCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                               std::span<const float> importance, std::string name) const {
  check_params(params);
  const std::uint64_t rows = shape.rows(), cols = shape.cols();
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  parts(shape, {params.bits, params.group_size});  // throws for shapes that the codec cannot hold
  check_importance(importance, cols, name);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<const float> x = values.subspan(row * cols, cols);
    if (check_finite(x, row, name) > kLargestHalf) fail_too_large(x, row, this->name(), name);
  }

  const std::vector<float> even(importance.empty() ? cols : 0, 1.0f);
  const std::span<const float> costs = importance.empty() ? std::span<const float>(even) : importance;
  if (!ordered_) return pack_spqr(name, shape, params, choose_weights(values, shape, params, costs));
  const std::vector<std::uint32_t> order = falling_order(values, costs);
  std::vector<float> stored(values.size()), stored_costs(cols);
  for (std::size_t j = 0; j < cols; ++j) {
    stored_costs[j] = costs[order[j]];
    for (std::uint64_t row = 0; row < rows; ++row) stored[row * cols + j] = values[row * cols + order[j]];
  }
  SpqrWeights weights = choose_weights(stored, shape, params, stored_costs);
  weights.order = order;
  return pack_spqr(name, shape, params, weights);
}

PackedTensor SpqrCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  const std::uint64_t from = begin + static_cast<std::uint64_t>(tensor.params.row_shift);
  const std::uint64_t tile_bytes = spqr_groups(tensor.params, tensor.shape.cols()) * kTileNumbers * 2;
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  slice.params.row_shift = static_cast<int>(from % kSpqrTileRows);
  OutlierRange range;
  if (tensor.params.stored > 0) range = outlier_range(tensor, begin, end);
  slice.params.stored = range.end - range.begin;
  const std::vector<PartSpec> specs = parts(slice.shape, slice.params);
  const std::uint64_t first_tile = from / kSpqrTileRows, tiles = tiles_of(end - begin, slice.params);
  slice.parts = {{specs[0], part_rows(tensor.part("planes"), level_bytes(tensor), begin, end)},
                 {specs[1], part_rows(tensor.part("grids"), grid_bytes(tensor), begin, end)},
                 {specs[2], part_rows(tensor.part("tiles"), tile_bytes, first_tile, first_tile + tiles)}};
  if (slice.params.stored > 0) {
    slice.parts.push_back({specs[3], part_rows(tensor.part("ends"), sizeof(std::uint32_t), begin, end + 1)});
    slice.parts.push_back(
        {specs[4], part_rows(tensor.part("outliers"), sizeof(std::uint32_t), range.begin, range.end)});
  }
  if (ordered_) slice.parts.push_back({specs.back(), tensor.part("order")});
  return slice;
}

PackedTensor SpqrCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  if (ordered_) {
    if (begin == 0 && end == tensor.shape.cols()) return tensor;
    throw Error(fmt::format("columns [{}, {}) cannot be cut out of SPQR_ORDERED, which has them in an order of its own",
                            begin, end),
                tensor_place(tensor.name), "quantize with --codec SPQR");
  }
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t groups = spqr_groups(tensor.params, cols), kept = spqr_groups(tensor.params, count);
  const std::uint64_t first_group = begin / static_cast<std::uint64_t>(tensor.params.group_size);
  std::vector<std::byte> ends, outliers;
  const auto append = [](std::vector<std::byte>& to, std::uint32_t number) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&number);
    to.insert(to.end(), bytes, bytes + sizeof number);
  };
  PackedTensor slice = tensor;
  slice.params.stored = 0;
  for (std::uint64_t row = 0; row < rows && tensor.params.stored > 0; ++row) {
    append(ends, static_cast<std::uint32_t>(slice.params.stored));
    for (const SpqrOutlier& outlier : spqr_outliers(tensor, row)) {
      if (outlier.column < begin || outlier.column >= end) continue;
      append(outliers, static_cast<std::uint32_t>(half_from_float(outlier.value)) << 16 |
                           (outlier.column - static_cast<std::uint32_t>(begin)));
      ++slice.params.stored;
    }
  }
  append(ends, static_cast<std::uint32_t>(slice.params.stored));
  slice.shape = with_cols(tensor.shape, count);
  const std::vector<PartSpec> specs = parts(slice.shape, slice.params);
  const std::uint64_t bits = static_cast<std::uint64_t>(tensor.params.bits);
  const std::uint64_t tile_rows = tiles_of(rows, tensor.params), number = kTileNumbers * sizeof(std::uint16_t);
  slice.parts = {
      {specs[0], part_columns(tensor.part("planes"), rows * bits, plane_bytes(cols), begin / 8, plane_bytes(count))},
      {specs[1],
       part_columns(tensor.part("grids"), rows * kGridPlanes, plane_bytes(groups), first_group / 8, plane_bytes(kept))},
      {specs[2], part_columns(tensor.part("tiles"), tile_rows, groups * number, first_group * number, kept * number)}};
  if (slice.params.stored == 0) return slice;
  slice.parts.push_back({specs[3], owned(std::move(ends), tensor.name)});
  slice.parts.push_back({specs[4], owned(std::move(outliers), tensor.name)});
  return slice;
}

}  // namespace lathe
