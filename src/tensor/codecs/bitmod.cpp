#include "tensor/codecs/bitmod.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "base/half.h"
#include "tensor/codecs/bit_planes.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/part_buffers.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/codecs/rounding.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// The search for scales: from beyond the covering one down to where the largest weights are cut off by a third.
constexpr int kShares = 24;
constexpr float kMostShare = 1.05f, kLeastShare = 0.65f;

void check_params(const CodecParams& params) {
  if (params.bits != 3 && params.bits != 4) {
    throw Error(fmt::format("BITMOD has no width of {} bits", params.bits), {}, "give 3 or 4 bits");
  }
  if (params.group_size < 1) {
    throw Error(fmt::format("BITMOD has no group size {}", params.group_size), {}, "give a group size of 1 or more");
  }
}

// The values of a type from the lowest to the highest, with their codes.
struct SortedValues {
  int count = 0;
  float value[16] = {};
  std::uint8_t code[16] = {};
  float largest = 0;  // magnitude

  // The lower one of equally near ones.
  int nearest(float x) const {
    int at = 0;
    while (at + 1 < count && x > 0.5f * (value[at] + value[at + 1])) ++at;
    return at;
  }
};

const SortedValues& sorted_values(int bits, int type) {
  static const auto kTables = [] {
    std::array<std::array<SortedValues, kBitmodTypes>, 2> tables;
    for (int width : {3, 4}) {
      for (int t = 0; t < kBitmodTypes; ++t) {
        SortedValues& table = tables[static_cast<std::size_t>(width - 3)][static_cast<std::size_t>(t)];
        std::vector<std::pair<int, int>> pairs;
        pairs.reserve(std::size_t{1} << width);
        for (int code = 0; code < 1 << width; ++code) pairs.emplace_back(bitmod_value(width, t, code), code);
        std::sort(pairs.begin(), pairs.end());
        for (const auto& [value, code] : pairs) {
          table.value[table.count] = static_cast<float>(value);
          table.code[table.count++] = static_cast<std::uint8_t>(code);
          table.largest = std::max(table.largest, std::abs(static_cast<float>(value)));
        }
      }
    }
    return tables;
  }();
  return kTables[static_cast<std::size_t>(bits - 3)][static_cast<std::size_t>(type)];
}

// A group whose weighted squared error is wanted under many types and scales: sorted, with sums over the lowest values,
// so that each costs a few searches.
class Group {
 public:
  Group(std::span<const float> x, std::span<const float> weights) : sums_(x.size() + 1) {
    std::vector<std::pair<float, float>> pairs;  // value, weight
    for (std::size_t i = 0; i < x.size(); ++i) pairs.emplace_back(x[i], weights.empty() ? 1.0f : weights[i]);
    std::sort(pairs.begin(), pairs.end());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const double value = pairs[i].first, weight = pairs[i].second;
      sorted_.push_back(pairs[i].first);
      sums_[i + 1] = {sums_[i].w + weight, sums_[i].wx + weight * value, sums_[i].wxx + weight * value * value};
    }
  }
  double error(const SortedValues& values, float scale) const {
    double error = 0;
    std::size_t begin = 0;
    for (int v = 0; v < values.count && begin < sorted_.size(); ++v) {
      std::size_t end = sorted_.size();
      if (v + 1 < values.count) {
        const float middle = 0.5f * scale * (values.value[v] + values.value[v + 1]);
        end = static_cast<std::size_t>(
            std::upper_bound(sorted_.begin() + static_cast<std::ptrdiff_t>(begin), sorted_.end(), middle) -
            sorted_.begin());
      }
      const double rounded = static_cast<double>(scale) * values.value[v];
      const Sums &from = sums_[begin], &to = sums_[end];
      error += (to.wxx - from.wxx) - rounded * (2 * (to.wx - from.wx) - rounded * (to.w - from.w));
      begin = end;
    }
    return error;
  }
  float largest() const { return sorted_.empty() ? 0 : std::max(std::abs(sorted_.front()), std::abs(sorted_.back())); }

 private:
  struct Sums {
    double w = 0, wx = 0, wxx = 0;
  };
  std::vector<float> sorted_;
  std::vector<Sums> sums_;
};

// The type and the scale of the least error; scales are shares of the one that covers the largest magnitude.
BitmodFit best_fit(const Group& group, int bits, float most_share, float least_share, int scales) {
  BitmodFit best;
  double least = INFINITY;
  for (int type = 0; type < kBitmodTypes; ++type) {
    const SortedValues& values = sorted_values(bits, type);
    for (int i = 0; i < scales; ++i) {
      const float share = most_share - (most_share - least_share) * static_cast<float>(i) / static_cast<float>(scales);
      const float scale = share * group.largest() / values.largest;
      const double error = group.error(values, scale);
      if (error < least) least = error, best = {type, scale};
    }
  }
  return best;
}

std::uint64_t code_bytes(const PackedTensor& tensor) {  // of a row
  return static_cast<std::uint64_t>(tensor.params.bits) * plane_bytes(tensor.shape.cols());
}
std::uint64_t type_bytes(const PackedTensor& tensor) {
  return kBitmodTypeBits * plane_bytes(bitmod_groups(tensor.params, tensor.shape.cols()));
}

}  // namespace

const BitmodCodec* bitmod_codec(const Codec& codec) { return dynamic_cast<const BitmodCodec*>(&codec); }

std::uint64_t bitmod_groups(const CodecParams& params, std::uint64_t cols) {
  const auto group = static_cast<std::uint64_t>(params.group_size);
  return cols / group + (cols % group != 0);
}

std::uint64_t BitmodCodec::column_alignment(const CodecParams& params) const {
  check_params(params);
  return 8 * static_cast<std::uint64_t>(params.group_size);  // whole bytes of the types' planes
}

std::vector<PartSpec> BitmodCodec::parts(const Shape& shape, const CodecParams& params) const {
  check_params(params);
  const std::uint64_t cols = shape.cols(), groups = bitmod_groups(params, cols);
  return {{"planes", DType::kU8, with_cols(shape, static_cast<std::uint64_t>(params.bits) * plane_bytes(cols))},
          {"types", DType::kU8, with_cols(shape, kBitmodTypeBits * plane_bytes(groups))},
          {"scales", DType::kU8, with_cols(shape, groups)},
          {"factors", DType::kF16, with_cols(shape, 1)}};
}

void bitmod_codes(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> codes) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t stride = code_bytes(tensor), cols = tensor.shape.cols();
  read_planes(tensor.part("planes").slice(row * stride, stride, "planes of a row").data(), tensor.params.bits,
              plane_bytes(cols), 0, codes.first(cols));
}

void bitmod_types(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> types) {
  check_row_slice(tensor, row, row + 1);
  const std::uint64_t stride = type_bytes(tensor), groups = bitmod_groups(tensor.params, tensor.shape.cols());
  read_planes(tensor.part("types").slice(row * stride, stride, "types of a row").data(), kBitmodTypeBits,
              plane_bytes(groups), 0, types.first(groups));
}

void BitmodCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                             std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const std::uint64_t cols = tensor.shape.cols(), groups = bitmod_groups(tensor.params, cols);
  const auto group = static_cast<std::uint64_t>(tensor.params.group_size);
  const int bits = tensor.params.bits;
  std::vector<std::uint8_t> codes(cols), types(groups);
  bitmod_codes(tensor, row, codes);
  bitmod_types(tensor, row, types);
  const Bytes scales = tensor.part("scales").slice(row * groups, groups, "scales of a row");
  std::uint16_t half = 0;
  std::memcpy(&half, tensor.part("factors").slice(row * sizeof half, sizeof half, "factor of a row").data(),
              sizeof half);
  const float factor = float_from_half(half);
  for (std::uint64_t i = 0; i < out.size(); ++i) {
    const std::uint64_t g = (column + i) / group;
    const float scale = factor * static_cast<float>(std::to_integer<int>(scales.data()[g]));
    out[i] = scale * static_cast<float>(bitmod_value(bits, types[g], codes[column + i]));
  }
}

BitmodFit adapt_bitmod_group(std::span<const float> x, int bits) { return best_fit(Group(x, {}), bits, 1, 1, 1); }

int nearest_bitmod_code(const BitmodFit& fit, float x, int bits) {
  const SortedValues& values = sorted_values(bits, fit.type);
  const float inverse = safe_reciprocal(fit.scale);
  return inverse == 0 ? 0 : values.code[values.nearest(x * inverse)];
}

BitmodRow round_bitmod_row(std::span<const float> x, std::span<const BitmodFit> fits, const CodecParams& params) {
  const auto group = static_cast<std::size_t>(params.group_size);
  BitmodRow row;
  float largest = 0;
  for (const BitmodFit& fit : fits) largest = std::max(largest, fit.scale);
  row.factor = float_from_half(half_from_float(largest / kBitmodHighestScale));
  const float inverse = safe_reciprocal(row.factor);
  row.codes.resize(x.size());
  for (std::size_t g = 0; g < fits.size(); ++g) {
    const float scale = nearest_level(fits[g].scale * inverse, 0, kBitmodHighestScale);
    row.scales.push_back(static_cast<std::uint8_t>(scale));
    row.types.push_back(static_cast<std::uint8_t>(fits[g].type));
    const BitmodFit stored{fits[g].type, row.factor * scale};
    for (std::size_t c = g * group; c < std::min(x.size(), (g + 1) * group); ++c) {
      row.codes[c] = static_cast<std::uint8_t>(nearest_bitmod_code(stored, x[c], params.bits));
    }
  }
  return row;
}

PackedTensor pack_bitmod_rows(const std::string& name, const Shape& shape, const CodecParams& params,
                              std::span<const BitmodRow> rows) {
  const auto& codec = static_cast<const BitmodCodec&>(codec_named("BITMOD"));
  PartBuffers parts(codec.parts(shape, params));
  const std::uint64_t cols = shape.cols(), groups = bitmod_groups(params, cols);
  const std::uint64_t code_stride = static_cast<std::uint64_t>(params.bits) * plane_bytes(cols);
  const std::uint64_t type_stride = kBitmodTypeBits * plane_bytes(groups);
  for (std::uint64_t r = 0; r < rows.size(); ++r) {
    const BitmodRow& row = rows[r];
    const std::uint16_t factor = half_from_float(row.factor);
    if (!std::isfinite(float_from_half(factor))) {
      fail(tensor_place(name), "the weights of row {} are too large for BITMOD", r);
    }
    write_planes(row.codes, params.bits, parts[0] + r * code_stride);
    write_planes(row.types, kBitmodTypeBits, parts[1] + r * type_stride);
    if (groups > 0) std::memcpy(parts[2] + r * groups, row.scales.data(), groups);
    std::memcpy(parts[3] + r * sizeof factor, &factor, sizeof factor);
  }
  return std::move(parts).finish(name, codec, params, shape);
}

PackedTensor BitmodCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                                 std::span<const float> importance, std::string name) const {
  check_params(params);
  const std::uint64_t cols = shape.cols(), group = static_cast<std::uint64_t>(params.group_size);
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_importance(importance, cols, name);
  std::vector<BitmodRow> rows;
  std::vector<BitmodFit> fits;
  for (std::uint64_t row = 0; row < shape.rows(); ++row) {
    const std::span<const float> x = values.subspan(row * cols, cols);
    check_finite(x, row, name);
    fits.clear();
    for (std::uint64_t begin = 0; begin < cols; begin += group) {
      const std::uint64_t count = std::min(group, cols - begin);
      const Group values(x.subspan(begin, count), importance.empty() ? importance : importance.subspan(begin, count));
      fits.push_back(best_fit(values, params.bits, kMostShare, kLeastShare, kShares));
    }
    rows.push_back(round_bitmod_row(x, fits, params));
    if (!std::isfinite(rows.back().factor)) fail_too_large(x, row, this->name(), name);
  }
  return pack_bitmod_rows(name, shape, params, rows);
}

std::string BitmodCodec::remark(const PackedTensor& tensor) const {
  constexpr std::array<std::string_view, kBitmodTypes> kNames = {"ER+", "ER-", "EA+", "EA-"};
  std::array<std::uint64_t, kBitmodTypes> counts = {};
  std::vector<std::uint8_t> types(bitmod_groups(tensor.params, tensor.shape.cols()));
  for (std::uint64_t row = 0; row < tensor.shape.rows(); ++row) {
    bitmod_types(tensor, row, types);
    for (const std::uint8_t type : types) ++counts[type];
  }
  const auto groups = static_cast<double>(std::max<std::uint64_t>(1, tensor.shape.rows() * types.size()));
  std::string text = "groups";
  for (std::size_t type = 0; type < counts.size(); ++type) {
    text += fmt::format(" {} {:.1f}%", kNames[type], 100 * static_cast<double>(counts[type]) / groups);
  }
  return text;
}

PackedTensor BitmodCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  const std::uint64_t groups = bitmod_groups(tensor.params, tensor.shape.cols());
  slice.parts = {{specs[0], part_rows(tensor.part("planes"), code_bytes(tensor), begin, end)},
                 {specs[1], part_rows(tensor.part("types"), type_bytes(tensor), begin, end)},
                 {specs[2], part_rows(tensor.part("scales"), groups, begin, end)},
                 {specs[3], part_rows(tensor.part("factors"), sizeof(std::uint16_t), begin, end)}};
  return slice;
}

PackedTensor BitmodCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), count = end - begin;
  const std::uint64_t groups = bitmod_groups(tensor.params, cols), kept = bitmod_groups(tensor.params, count);
  const std::uint64_t first = begin / static_cast<std::uint64_t>(tensor.params.group_size);
  const std::uint64_t bits = static_cast<std::uint64_t>(tensor.params.bits);
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, count);
  const std::vector<PartSpec> specs = parts(slice.shape, tensor.params);
  slice.parts = {
      {specs[0], part_columns(tensor.part("planes"), rows * bits, plane_bytes(cols), begin / 8, plane_bytes(count))},
      {specs[1],
       part_columns(tensor.part("types"), rows * kBitmodTypeBits, plane_bytes(groups), first / 8, plane_bytes(kept))},
      {specs[2], part_columns(tensor.part("scales"), rows, groups, first, kept)},
      {specs[3], tensor.part("factors")}};
  return slice;
}

}  // namespace lathe
