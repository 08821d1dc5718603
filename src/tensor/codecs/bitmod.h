// BITMOD (Chen et al. 2025, "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", section III): 3- and 4-bit
// floats whose useless code, minus zero, means one extra value, chosen per group of columns out of four. Extra
// resolution (ER) puts it between two others, extra asymmetry (EA) beyond the largest, on either side.
//   x[r, c] = factor * scale * values[type][code], in units of which every value is a whole number:
//   3 bits: 0 1 2 4, extra, -1 -2 -4                       extra +3 (ER+), -3 (ER-), +6 (EA+), -6 (EA-)
//   4 bits: 0 1 2 3 4 6 8 12, extra, -1 -2 -3 ... -12      extra +10, -10, +16, -16
// Scales are 8-bit integers; a row has one half-precision factor (the paper's second level, section III-C).
//
// Parts: "planes" U8 [..., bits * ceil(cols / 8)] and "types" U8 [..., 2 * ceil(groups / 8)], bit planes (bit_planes.h)
// of a row's codes and of its groups' types; "scales" U8 [..., groups]; "factors" F16 [..., 1].
//
// Parameters: bits 3 or 4; group_size >= 1, the last group of a row may be short. (The authors' repository says that
// the data types are subject to a patent application.)
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tensor/codec.h"

namespace lathe {

inline constexpr int kBitmodTypes = 4, kBitmodTypeBits = 2;
inline constexpr int kBitmodHighestScale = 127;

// The value of the extra code of each type, ER+ ER- EA+ EA-.
constexpr std::array<int, kBitmodTypes> bitmod_extras(int bits) {
  return bits == 3 ? std::array{3, -3, 6, -6} : std::array{10, -10, 16, -16};
}
// The code that means the extra value.
constexpr int bitmod_extra_code(int bits) { return 1 << (bits - 1); }
// Value of a code that every group shares: all but the extra one, of which this is 0.
constexpr int bitmod_common_value(int bits, int code) {
  constexpr std::array<int, 4> kMagnitudes3 = {0, 1, 2, 4};
  constexpr std::array<int, 8> kMagnitudes4 = {0, 1, 2, 3, 4, 6, 8, 12};
  const int extra = bitmod_extra_code(bits);
  const auto at = static_cast<std::size_t>(code % extra);
  const int magnitude = bits == 3 ? kMagnitudes3[at] : kMagnitudes4[at];
  return code < extra ? magnitude : -magnitude;
}
// Value of a code, extra included.
constexpr int bitmod_value(int bits, int type, int code) {
  return code == bitmod_extra_code(bits) ? bitmod_extras(bits)[static_cast<std::size_t>(type)]
                                         : bitmod_common_value(bits, code);
}

class BitmodCodec final : public Codec {
 public:
  std::string_view name() const override { return "BITMOD"; }
  std::string_view description() const override {
    return "floats of 3 or 4 bits with one extra value chosen per group, 8-bit scales";
  }
  CodecParams usual_params() const override { return {.bits = 3, .group_size = 128}; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  // How many groups have each of the types.
  std::string remark(const PackedTensor& tensor) const override;
  bool can_encode() const override { return true; }
  // For each group the type and, of a range of scales, the one that leave the least weighted squared error.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

// The codec as this type, or nullptr when it is another.
const BitmodCodec* bitmod_codec(const Codec& codec);

std::uint64_t bitmod_groups(const CodecParams& params, std::uint64_t cols);

// --- reading one row ---
void bitmod_codes(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> codes);
void bitmod_types(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> types);

// --- choosing ---

struct BitmodFit {
  int type = 0;
  float scale = 0;  // times a value is a weight
};
// The type with the least squared error (the first of equals) under the scale that puts the largest magnitude on the
// largest value of the type (section III-B, algorithm 1).
BitmodFit adapt_bitmod_group(std::span<const float> x, int bits);
// The code of the value nearest to x / scale, the lower one of equally near ones.
int nearest_bitmod_code(const BitmodFit& fit, float x, int bits);

// A row from its groups' fits: scales become integers, then every weight goes to its nearest code.
struct BitmodRow {
  std::vector<std::uint8_t> codes, types, scales;
  float factor = 0;
};
BitmodRow round_bitmod_row(std::span<const float> x, std::span<const BitmodFit> fits, const CodecParams& params);
// Rows from somebody else. Throws an Error naming the tensor when a factor is no finite half-precision number.
PackedTensor pack_bitmod_rows(const std::string& name, const Shape& shape, const CodecParams& params,
                              std::span<const BitmodRow> rows);

}  // namespace lathe
