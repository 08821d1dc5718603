#include "tensor/codecs/slim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/half.h"
#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/slim_fit.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

constexpr double kErrorPerBit = 4;  // what one bit less multiplies a squared error by

void check_params(const CodecParams& params) {
  if (params.bits < kSlimLeastBits || params.bits > kSlimMostBits) {
    throw Error(fmt::format("SLIM has no average width of {} bits", params.bits), {},
                fmt::format("give {} to {} bits", kSlimLeastBits, kSlimMostBits));
  }
  if (params.group_size < 8 || params.group_size % 8 != 0) {
    throw Error(fmt::format("SLIM has no blocks of {} columns", params.group_size), {},
                "give a group size that is a positive multiple of 8");
  }
}

std::uint64_t block_columns(const CodecParams& params, std::uint64_t cols, std::uint64_t block) {
  const auto size = static_cast<std::uint64_t>(params.group_size);
  return std::min(size, cols - block * size);
}

// Bytes of the first widths.size() blocks of a row.
std::uint64_t planes_before(const CodecParams& params, std::uint64_t cols, std::span<const std::uint8_t> widths) {
  std::uint64_t bytes = 0;
  for (std::size_t b = 0; b < widths.size(); ++b) bytes += widths[b] * plane_bytes(block_columns(params, cols, b));
  return bytes;
}

// Bytes of a row of "planes".
std::uint64_t row_bytes(const CodecParams& params, std::uint64_t cols) {
  return params.stored != 0 ? params.stored : static_cast<std::uint64_t>(params.bits) * plane_bytes(cols);
}

bool is_width(int width, const CodecParams& params) { return width >= params.bits - 1 && width <= params.bits + 1; }

}  // namespace

const SlimCodec* slim_codec(const Codec& codec) { return dynamic_cast<const SlimCodec*>(&codec); }

std::uint64_t slim_blocks(const CodecParams& params, std::uint64_t cols) {
  const auto size = static_cast<std::uint64_t>(params.group_size);
  return cols / size + (cols % size != 0);
}

std::uint64_t slim_whole_blocks(const CodecParams& params, std::uint64_t cols) {
  return cols / static_cast<std::uint64_t>(params.group_size);
}

std::vector<std::uint8_t> slim_width_map(const CodecParams& params, std::uint64_t cols,
                                         std::span<const std::size_t> order, std::size_t pairs) {
  std::vector<std::uint8_t> widths(slim_blocks(params, cols), static_cast<std::uint8_t>(params.bits));
  for (std::size_t i = 0; i < pairs; ++i) {
    --widths[order[i]];
    ++widths[order[order.size() - 1 - i]];
  }
  return widths;
}

std::uint64_t SlimCodec::column_alignment(const CodecParams& params) const {
  check_params(params);
  return static_cast<std::uint64_t>(params.group_size);
}

std::vector<PartSpec> SlimCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  const std::uint64_t cols = shape.cols(), blocks = slim_blocks(params, cols), plane = plane_bytes(cols);
  const auto bits = static_cast<std::uint64_t>(params.bits);
  if (params.stored != 0 && (params.stored < (bits - 1) * plane || params.stored > (bits + 1) * plane)) {
    throw Error(fmt::format("rows of {} weights of {} to {} bits do not take {} bytes", cols, bits - 1, bits + 1,
                            params.stored));
  }
  std::vector<PartSpec> specs = {{"planes", DType::kU8, with_cols(shape, row_bytes(params, cols))},
                                 {"scales", DType::kF16, with_cols(shape, blocks)},
                                 {"zeros", DType::kU8, with_cols(shape, blocks)}};
  if (params.stored != 0) specs.push_back({"widths", DType::kU8, Shape{blocks}});
  return specs;
}

std::vector<std::uint8_t> slim_widths(const PackedTensor& tensor) {
  const CodecParams& params = tensor.params;
  const std::uint64_t cols = tensor.shape.cols(), blocks = slim_blocks(params, cols);
  std::vector<std::uint8_t> widths(blocks, static_cast<std::uint8_t>(params.bits));
  if (params.stored == 0) return widths;
  std::memcpy(widths.data(), tensor.part("widths").slice(0, blocks, "widths of SLIM").data(), blocks);
  for (std::size_t b = 0; b < blocks; ++b) {
    if (is_width(widths[b], params)) continue;
    throw Error(fmt::format("block {} has a width of {} bits where {} to {} are allowed", b, widths[b], params.bits - 1,
                            params.bits + 1),
                tensor_place(tensor.name), "the file is damaged");
  }
  if (const std::uint64_t bytes = planes_before(params, cols, widths); bytes != params.stored) {
    throw Error(fmt::format("the blocks of a row take {} bytes, not the {} that are there", bytes, params.stored),
                tensor_place(tensor.name), "the file is damaged");
  }
  return widths;
}

void slim_levels(const PackedTensor& tensor, std::span<const std::uint8_t> widths, std::uint64_t row,
                 std::span<std::uint8_t> levels) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t cols = tensor.shape.cols(), stride = row_bytes(tensor.params, cols);
  const std::byte* planes = tensor.part("planes").slice(row * stride, stride, "planes of a row").data();
  std::uint64_t column = 0;
  for (std::size_t b = 0; b < widths.size(); ++b) {
    const std::uint64_t count = block_columns(tensor.params, cols, b), plane = plane_bytes(count);
    read_planes(planes, widths[b], plane, 0, levels.subspan(column, count));
    planes += widths[b] * plane, column += count;
  }
}

void slim_grids(const PackedTensor& tensor, std::span<const std::uint8_t> widths, std::uint64_t row,
                std::span<IntGrid> grids) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t blocks = widths.size();
  const Bytes scales = tensor.part("scales").slice(row * blocks * 2, blocks * 2, "scales of a row");
  const Bytes zeros = tensor.part("zeros").slice(row * blocks, blocks, "zero points of a row");
  for (std::uint64_t b = 0; b < blocks; ++b) {
    std::uint16_t half = 0;
    std::memcpy(&half, scales.data() + b * sizeof half, sizeof half);
    grids[b] = {float_from_half(half),
                static_cast<float>(std::to_integer<int>(zeros.data()[b])) * slim_zero_unit(widths[b])};
  }
}

void SlimCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                           std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const std::vector<std::uint8_t> widths = slim_widths(tensor);
  std::vector<std::uint8_t> levels(tensor.shape.cols());
  std::vector<IntGrid> grids(widths.size());
  slim_levels(tensor, widths, row, levels);
  slim_grids(tensor, widths, row, grids);
  const auto size = static_cast<std::uint64_t>(tensor.params.group_size);
  for (std::uint64_t i = 0; i < out.size(); ++i) {
    out[i] = grids[(column + i) / size].value(levels[column + i]);
  }
}

PackedTensor pack_slim(const std::string& name, const Shape& shape, CodecParams params,
                       std::span<const std::uint8_t> widths, std::span<const std::uint8_t> levels,
                       std::span<const IntGrid> grids) {
  check_params(params);
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), blocks = slim_blocks(params, cols);
  if (widths.size() != blocks || levels.size() != shape.elements() || grids.size() != rows * blocks) {
    fail(tensor_place(name), "{} widths, {} integers and {} scales for shape {}", widths.size(), levels.size(),
         grids.size(), shape.text());
  }
  bool even = true;
  for (std::size_t b = 0; b < blocks; ++b) {
    if (!is_width(widths[b], params)) {
      fail(tensor_place(name), "SLIM of {} bits cannot have a block of {}", params.bits, widths[b]);
    }
    even &= widths[b] == params.bits;
  }
  params.stored = even ? 0 : planes_before(params, cols, widths);
  const auto& codec = static_cast<const SlimCodec&>(codec_named("SLIM"));
  PartBuffers parts(codec.parts(shape, params));
  std::byte* out = parts[0];
  for (std::uint64_t row = 0, at = 0; row < rows; ++row) {
    std::uint64_t column = row * cols;
    for (std::uint64_t b = 0; b < blocks; ++b, ++at) {
      const IntGrid& grid = grids[at];
      const std::uint16_t half = half_from_float(grid.scale);
      const float zero = grid.zero / slim_zero_unit(widths[b]);
      if (!std::isfinite(grid.scale) || float_from_half(half) != grid.scale) {
        fail(tensor_place(name), "the scale {} of row {}, block {} is no half-precision number", grid.scale, row, b);
      }
      if (!(zero >= 0 && zero <= 255 && zero == std::floor(zero))) {
        fail(tensor_place(name), "SLIM cannot store the zero point {} of row {}, block {}", grid.zero, row, b);
      }
      std::memcpy(parts[1] + at * sizeof half, &half, sizeof half);
      parts[2][at] = static_cast<std::byte>(zero);
      const std::uint64_t count = block_columns(params, cols, b);
      const std::span<const std::uint8_t> block = levels.subspan(column, count);
      if (std::any_of(block.begin(), block.end(), [&](std::uint8_t level) { return level >> widths[b] != 0; })) {
        fail(tensor_place(name), "an integer of row {}, block {} has more than {} bits", row, b, widths[b]);
      }
      write_planes(block, widths[b], out);
      out += widths[b] * plane_bytes(count), column += count;
    }
  }
  if (!even) std::memcpy(parts[3], widths.data(), blocks);
  return std::move(parts).finish(name, codec, params, shape);
}

PackedTensor SlimCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                               std::span<const float> importance, std::string name) const {
  check_params(params);
  const std::uint64_t rows = shape.rows(), cols = shape.cols(), blocks = slim_blocks(params, cols);
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_importance(importance, cols, name);
  const std::vector<float> even(importance.empty() ? cols : 0, 1.0f);
  const std::span<const float> weights = importance.empty() ? std::span<const float>(even) : importance;
  const auto size = static_cast<std::uint64_t>(params.group_size);

  std::vector<double> squares(blocks);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<const float> x = values.subspan(row * cols, cols);
    check_finite(x, row, name);
    for (std::uint64_t c = 0; c < cols; ++c) squares[c / size] += static_cast<double>(x[c]) * x[c] * weights[c];
  }
  std::vector<std::size_t> order(slim_whole_blocks(params, cols));
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return squares[a] < squares[b]; });
  std::size_t pairs = 0;
  while (pairs < order.size() / 2 && squares[order[order.size() - 1 - pairs]] > kErrorPerBit * squares[order[pairs]]) {
    ++pairs;
  }
  const std::vector<std::uint8_t> widths = slim_width_map(params, cols, order, pairs);

  std::vector<std::uint8_t> levels(values.size());
  std::vector<IntGrid> grids(rows * blocks);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<const float> x = values.subspan(row * cols, cols);
    for (std::uint64_t b = 0; b < blocks; ++b) {
      const std::uint64_t begin = b * size, count = block_columns(params, cols, b);
      const IntGrid grid = fit_slim_grid(x.subspan(begin, count), weights.subspan(begin, count), widths[b]);
      if (!std::isfinite(grid.scale)) fail_too_large(x, row, this->name(), name);
      grids[row * blocks + b] = grid;
      for (std::uint64_t c = begin; c < begin + count; ++c) {
        levels[row * cols + c] = static_cast<std::uint8_t>(nearest_int_level(grid, x[c], widths[b]));
      }
    }
  }
  return pack_slim(name, shape, params, widths, levels, grids);
}

std::string SlimCodec::remark(const PackedTensor& tensor) const {
  constexpr std::size_t kTogether = 8;
  std::string text = "widths";
  const std::vector<std::uint8_t> widths = slim_widths(tensor);
  for (std::size_t b = 0; b < widths.size(); ++b) {
    if (b % kTogether == 0) text += ' ';
    text += static_cast<char>('0' + widths[b]);
  }
  return text;
}

PackedTensor SlimCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  const std::uint64_t cols = tensor.shape.cols(), blocks = slim_blocks(tensor.params, cols);
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  const std::uint64_t strides[] = {row_bytes(tensor.params, cols), blocks * sizeof(std::uint16_t), blocks};
  for (std::size_t i = 0; i < 3; ++i) {
    slice.parts[i] = {specs[i], part_rows(tensor.parts[i].data, strides[i], begin, end)};
  }
  return slice;
}

PackedTensor SlimCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t blocks = slim_blocks(tensor.params, cols), kept = slim_blocks(tensor.params, count);
  const std::uint64_t first = begin / static_cast<std::uint64_t>(tensor.params.group_size);
  const std::vector<std::uint8_t> widths = slim_widths(tensor);
  const std::uint64_t skipped = planes_before(tensor.params, cols, std::span(widths).first(first));
  const std::uint64_t bytes = planes_before(tensor.params, cols, std::span(widths).first(first + kept)) - skipped;
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, count);
  if (tensor.params.stored != 0) slice.params.stored = bytes;
  const std::vector<PartSpec> specs = parts(slice.shape, slice.params);
  slice.parts = {{specs[0], part_columns(tensor.part("planes"), rows, row_bytes(tensor.params, cols), skipped, bytes)},
                 {specs[1], part_columns(tensor.part("scales"), rows, blocks * 2, first * 2, kept * 2)},
                 {specs[2], part_columns(tensor.part("zeros"), rows, blocks, first, kept)}};
  if (slice.params.stored != 0) slice.parts.push_back({specs[3], tensor.part("widths").slice(first, kept, "widths")});
  return slice;
}

}  // namespace lathe
