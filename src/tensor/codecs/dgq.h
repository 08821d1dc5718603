// DGQ (Zhang et al. 2023, "Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM"): 4-bit integers in
// groups whose scales are integers themselves, with one float scale per row. A weight is thereby an 8-bit integer times
// the scale of its row, and products with 8-bit activations add up as integers over whole rows:
//   x[r, c] = factor[r] * scale[r, g] * (code[r, c] - zero[r, g]),   g = c / group_size
// with codes and zeros in 0 .. 15, scales in 1 .. 127 and |scale * (code - zero)| <= 127 everywhere. Bytes of a file
// that say anything else are refused when they are read.
//
// Parts: "planes" U8 [..., 4 * ceil(cols / 8)], bit planes (bit_planes.h) of a row's codes; "zeros" and "scales" U8
// [..., groups]; "factors" F32 [..., 1].
//
// Parameters: bits 4; group_size >= 1, the last group of a row may be short.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/codec.h"
#include "tensor/codecs/int_group.h"

namespace lathe {

inline constexpr int kDgqBits = 4, kDgqHighestCode = 15;
inline constexpr int kDgqLargest = 127;  // of scales, and magnitude of scale * (code - zero)

// The lowest and the highest code that a group may use.
struct DgqBounds {
  int low, high;
};
constexpr DgqBounds dgq_bounds(int zero, int scale) {
  return {std::max(0, zero - kDgqLargest / scale), std::min(kDgqHighestCode, zero + kDgqLargest / scale)};
}

class DgqCodec final : public Codec {
 public:
  std::string_view name() const override { return "DGQ"; }
  std::string_view description() const override {
    return "4-bit integers, an integer scale and a zero point per group, a float scale per row";
  }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  bool can_encode() const override { return true; }
  // The grids of fit_int_grid, and the factor of dgq_factor() that leaves the least weighted squared error.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

// The codec as this type, or nullptr when it is another.
const DgqCodec* dgq_codec(const Codec& codec);

std::uint64_t dgq_groups(const CodecParams& params, std::uint64_t cols);

struct DgqRow {
  std::vector<std::uint8_t> codes;          // [cols]
  std::vector<std::uint8_t> zeros, scales;  // [groups]
  float factor = 0;
};

// One row of a tensor. Throws an Error naming tensor, row and group when its numbers are not such as the codec has.
DgqRow dgq_row(const PackedTensor& tensor, std::uint64_t row);

// --- choosing ---

// The factors a search tries: numbers 1 .. kDgqFactors lie between 1.01 and 0.2 times the one that puts the row's
// largest magnitude on 127.
inline constexpr int kDgqFactors = 80;
constexpr float dgq_factor(float largest, int number) {
  return (1.02f - 0.82f * static_cast<float>(number) / kDgqFactors) * largest / kDgqLargest;
}
// What a group's scale becomes under a row's factor.
int dgq_scale(float group_scale, float factor);
// code - zero of the value nearest to each x of a group, as floats.
void round_dgq_group(std::span<const float> x, float factor, int scale, int zero, std::span<float> levels);

// A row from its groups' grids (zeros 0 .. 15) and a factor.
DgqRow round_dgq_row(std::span<const float> x, std::span<const IntGrid> grids, float factor, const CodecParams& params);
// Rows from somebody else. Throws an Error naming the tensor when one holds what the codec cannot.
PackedTensor pack_dgq_rows(const std::string& name, const Shape& shape, const CodecParams& params,
                           std::span<const DgqRow> rows);

}  // namespace lathe
