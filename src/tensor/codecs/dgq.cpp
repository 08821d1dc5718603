#include "tensor/codecs/dgq.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/lanes.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/rounding.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

void check_params(const CodecParams& params) {
  if (params.bits != kDgqBits) {
    throw Error(fmt::format("DGQ has no width of {} bits", params.bits), {}, "give 4 bits, the only width it has");
  }
  if (params.group_size < 1) {
    throw Error(fmt::format("DGQ has no group size {}", params.group_size), {}, "give a group size of 1 or more");
  }
}

// Whether the numbers of a row are such as the codec has.
void check_row(const DgqRow& row, const CodecParams& params, std::uint64_t index, std::string_view tensor_name) {
  const auto group = static_cast<std::size_t>(params.group_size);
  for (std::size_t g = 0; g < row.scales.size(); ++g) {
    const int zero = row.zeros[g], scale = row.scales[g];
    if (zero > kDgqHighestCode || scale < 1 || scale > kDgqLargest) {
      fail(tensor_place(tensor_name), "row {}, group {}: no DGQ group has the zero point {} and the scale {}", index, g,
           zero, scale);
    }
    const DgqBounds bounds = dgq_bounds(zero, scale);
    for (std::size_t c = g * group; c < std::min(row.codes.size(), (g + 1) * group); ++c) {
      if (row.codes[c] < bounds.low || row.codes[c] > bounds.high) {
        fail(tensor_place(tensor_name), "row {}, group {}: code {} stands for {}, which is no 8-bit integer", index, g,
             row.codes[c], scale * (row.codes[c] - zero));
      }
    }
  }
}

// Weighted squared errors of a row, rounded under kLanes factors at once.
Lanes errors_of(std::span<const float> x, std::span<const float> weights, std::span<const IntGrid> grids,
                const float* factors, std::size_t group) {
  Lanes errors;
  for (std::size_t g = 0; g < grids.size(); ++g) {
    float scales[kLanes], inverses[kLanes], lows[kLanes], highs[kLanes];
    const int zero = static_cast<int>(grids[g].zero);
    for (int k = 0; k < kLanes; ++k) {
      const int scale = dgq_scale(grids[g].scale, factors[k]);
      const DgqBounds bounds = dgq_bounds(zero, scale);
      scales[k] = factors[k] * static_cast<float>(scale);
      inverses[k] = safe_reciprocal(scales[k]);
      lows[k] = static_cast<float>(bounds.low - zero), highs[k] = static_cast<float>(bounds.high - zero);
    }
    const Lanes scale = Lanes::of(scales), inverse = Lanes::of(inverses), low = Lanes::of(lows),
                high = Lanes::of(highs), whole_from_here = Lanes::all(kWholeFromHere);
    for (std::size_t c = g * group; c < std::min(x.size(), (g + 1) * group); ++c) {
      Lanes q = lesser_of(greater_of(inverse * x[c], low), high);
      q = (q + whole_from_here) - whole_from_here;
      const Lanes off = Lanes::all(x[c]) - q * scale;
      errors = errors + off * off * (weights.empty() ? 1.0f : weights[c]);
    }
  }
  return errors;
}

// The factor of the least error, the first of equals.
float best_factor(std::span<const float> x, std::span<const float> weights, std::span<const IntGrid> grids,
                  float largest, std::size_t group) {
  static_assert(kDgqFactors % kLanes == 0);
  float least = INFINITY, best = 0;
  for (int first = 1; first <= kDgqFactors; first += kLanes) {
    float factors[kLanes];
    for (int k = 0; k < kLanes; ++k) factors[k] = dgq_factor(largest, first + k);
    const Lanes errors = errors_of(x, weights, grids, factors, group);
    for (int k = 0; k < kLanes; ++k) {
      if (errors[k] < least) least = errors[k], best = factors[k];
    }
  }
  return best;
}

std::uint64_t code_bytes(const PackedTensor& tensor) {
  return kDgqBits * plane_bytes(tensor.shape.cols());
}  // of a row

}  // namespace

const DgqCodec* dgq_codec(const Codec& codec) { return dynamic_cast<const DgqCodec*>(&codec); }

std::uint64_t dgq_groups(const CodecParams& params, std::uint64_t cols) {
  const auto group = static_cast<std::uint64_t>(params.group_size);
  return cols / group + (cols % group != 0);
}

std::uint64_t DgqCodec::column_alignment(const CodecParams& params) const {
  check_params(params);
  return std::lcm<std::uint64_t>(8, static_cast<std::uint64_t>(params.group_size));
}

std::vector<PartSpec> DgqCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  const std::uint64_t cols = shape.cols(), groups = dgq_groups(params, cols);
  return {{"planes", DType::kU8, with_cols(shape, kDgqBits * plane_bytes(cols))},
          {"zeros", DType::kU8, with_cols(shape, groups)},
          {"scales", DType::kU8, with_cols(shape, groups)},
          {"factors", DType::kF32, with_cols(shape, 1)}};
}

DgqRow dgq_row(const PackedTensor& tensor, std::uint64_t row) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t cols = tensor.shape.cols(), groups = dgq_groups(tensor.params, cols);
  const std::uint64_t stride = code_bytes(tensor);
  DgqRow found;
  found.codes.resize(cols);
  read_planes(tensor.part("planes").slice(row * stride, stride, "planes of a row").data(), kDgqBits, plane_bytes(cols),
              0, found.codes);
  const auto bytes_of = [&](std::string_view part) {
    const Bytes bytes = tensor.part(part).slice(row * groups, groups, part);
    const auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
    return std::vector<std::uint8_t>(first, first + groups);
  };
  found.zeros = bytes_of("zeros");
  found.scales = bytes_of("scales");
  const Bytes factor = tensor.part("factors").slice(row * sizeof(float), sizeof(float), "factor of a row");
  std::memcpy(&found.factor, factor.data(), sizeof(float));
  check_row(found, tensor.params, row, tensor.name);
  return found;
}

void DgqCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                          std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const DgqRow found = dgq_row(tensor, row);
  for (std::uint64_t i = 0; i < out.size(); ++i) {
    const std::uint64_t g = (column + i) / static_cast<std::uint64_t>(tensor.params.group_size);
    out[i] = found.factor * static_cast<float>(found.scales[g] * (found.codes[column + i] - found.zeros[g]));
  }
}

int dgq_scale(float group_scale, float factor) {
  return static_cast<int>(nearest_level(group_scale * safe_reciprocal(factor), 1, kDgqLargest));
}

void round_dgq_group(std::span<const float> x, float factor, int scale, int zero, std::span<float> levels) {
  const DgqBounds bounds = dgq_bounds(zero, scale);
  const float inverse = safe_reciprocal(factor * static_cast<float>(scale));
  const auto low = static_cast<float>(bounds.low - zero), high = static_cast<float>(bounds.high - zero);
  for (std::size_t i = 0; i < x.size(); ++i) levels[i] = nearest_level(x[i] * inverse, low, high);
}

DgqRow round_dgq_row(std::span<const float> x, std::span<const IntGrid> grids, float factor,
                     const CodecParams& params) {
  const auto group = static_cast<std::size_t>(params.group_size);
  DgqRow row;
  row.factor = factor;
  row.codes.resize(x.size());
  std::vector<float> levels(std::min(group, x.size()));
  for (std::size_t g = 0; g < grids.size(); ++g) {
    const int scale = dgq_scale(grids[g].scale, factor), zero = static_cast<int>(grids[g].zero);
    row.scales.push_back(static_cast<std::uint8_t>(scale));
    row.zeros.push_back(static_cast<std::uint8_t>(zero));
    const std::size_t begin = g * group, count = std::min(group, x.size() - begin);
    round_dgq_group(x.subspan(begin, count), factor, scale, zero, levels);
    for (std::size_t i = 0; i < count; ++i) {
      row.codes[begin + i] = static_cast<std::uint8_t>(zero + static_cast<int>(levels[i]));
    }
  }
  return row;
}

PackedTensor pack_dgq_rows(const std::string& name, const Shape& shape, const CodecParams& params,
                           std::span<const DgqRow> rows) {
  const Codec& codec = codec_named("DGQ");
  PartBuffers parts(codec.parts(shape, params));
  const std::uint64_t groups = dgq_groups(params, shape.cols());
  if (rows.size() != shape.rows()) fail(tensor_place(name), "{} rows for shape {}", rows.size(), shape.text());
  for (std::uint64_t r = 0; r < rows.size(); ++r) {
    const DgqRow& row = rows[r];
    if (row.codes.size() != shape.cols() || row.zeros.size() != groups || row.scales.size() != groups) {
      fail(tensor_place(name), "row {} has {} codes in {} groups, not {} in {}", r, row.codes.size(), row.scales.size(),
           shape.cols(), groups);
    }
    check_row(row, params, r, name);
    if (!std::isfinite(row.factor * kDgqLargest)) {
      fail(tensor_place(name), "the weights of row {} are too large for DGQ, or not finite", r);
    }
    write_planes(row.codes, kDgqBits, parts[0] + r * kDgqBits * plane_bytes(shape.cols()));
    if (groups > 0) {
      std::memcpy(parts[1] + r * groups, row.zeros.data(), groups);
      std::memcpy(parts[2] + r * groups, row.scales.data(), groups);
    }
    std::memcpy(parts[3] + r * sizeof(float), &row.factor, sizeof(float));
  }
  return std::move(parts).finish(name, codec, params, shape);
}

PackedTensor DgqCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                              std::span<const float> importance, std::string name) const {
  check_params(params);
  const std::uint64_t cols = shape.cols(), group = static_cast<std::uint64_t>(params.group_size);
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_importance(importance, cols, name);
  const std::vector<float> even(importance.empty() ? std::min(group, cols) : 0, 1.0f);
  std::vector<DgqRow> rows;
  std::vector<float> scaled(cols);
  std::vector<IntGrid> grids;
  for (std::uint64_t r = 0; r < shape.rows(); ++r) {
    const std::span<const float> x = values.subspan(r * cols, cols);
    const float largest = check_finite(x, r, name);
    // A power of two that brings the row near 1: grids are fitted in half precision.
    int exponent = 0;
    std::frexp(largest, &exponent);
    for (std::uint64_t c = 0; c < cols; ++c) scaled[c] = std::ldexp(x[c], -exponent);
    grids.clear();
    for (std::uint64_t begin = 0; begin < cols; begin += group) {
      const std::uint64_t count = std::min(group, cols - begin);
      const auto weights = importance.empty() ? std::span(even).first(count) : importance.subspan(begin, count);
      grids.push_back(
          fit_int_grid(std::span(scaled).subspan(begin, count), weights, kDgqBits, IntGroupKind::kAsymmetric));
    }
    const float factor = best_factor(scaled, importance, grids, std::ldexp(largest, -exponent), group);
    rows.push_back(round_dgq_row(scaled, grids, factor, params));
    rows.back().factor = std::ldexp(factor, exponent);
    if (!std::isfinite(rows.back().factor * kDgqLargest)) fail_too_large(x, r, this->name(), name);
  }
  return pack_dgq_rows(name, shape, params, rows);
}

PackedTensor DgqCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  const std::uint64_t groups = dgq_groups(tensor.params, tensor.shape.cols());
  slice.parts = {{specs[0], part_rows(tensor.part("planes"), code_bytes(tensor), begin, end)},
                 {specs[1], part_rows(tensor.part("zeros"), groups, begin, end)},
                 {specs[2], part_rows(tensor.part("scales"), groups, begin, end)},
                 {specs[3], part_rows(tensor.part("factors"), sizeof(float), begin, end)}};
  return slice;
}

PackedTensor DgqCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t groups = dgq_groups(tensor.params, cols), kept = dgq_groups(tensor.params, count);
  const std::uint64_t first = begin / static_cast<std::uint64_t>(tensor.params.group_size);
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, count);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  slice.parts = {{specs[0], part_columns(tensor.part("planes"), rows * kDgqBits, plane_bytes(cols), begin / 8,
                                         plane_bytes(count))},
                 {specs[1], part_columns(tensor.part("zeros"), rows, groups, first, kept)},
                 {specs[2], part_columns(tensor.part("scales"), rows, groups, first, kept)},
                 {specs[3], tensor.part("factors")}};
  return slice;
}

}  // namespace lathe
