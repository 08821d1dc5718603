// BALANCED: integers with as many levels above zero as below and zero itself, one level more than their bits have: 3
// levels for "1 bit", 5 for "2 bits" (ABQ-LLM's bit balance: Zeng et al. 2024, "ABQ-LLM: Arbitrary-Bit Quantized
// Inference Acceleration for Large Language Models"), a half-precision scale per group of columns:
//   x[r, c] = scale * (level - 2^(bits - 1)),   level in 0 .. 2^bits
//
// Levels are digits of numbers, so that nearly no bit is lost: 5 levels of base 3 are a number of 8 bits (1.6 bits
// each), 3 of base 5 one of 7 bits (2.33). Level i of a number counts base^i. Parts: "numbers" U8 [..., number bits *
// ceil(numbers of a row / 8)], bit planes (bit_planes.h) of a row's numbers, whose digits past the last column are
// zero; "scales" F16 [..., groups of a row].
//
// Parameters: bits 1 or 2; group_size >= 1, or 0 for one group per row; activation_bits as of integer groups.
#pragma once

#include <span>
#include <string>

#include "tensor/codecs/int_group.h"

namespace lathe {

// How levels of a width are packed.
struct BalancedDigits {
  int base, count, number_bits;  // base^count <= 2^number_bits
};
constexpr BalancedDigits balanced_digits(int bits) {
  return bits == 1 ? BalancedDigits{3, 5, 8} : BalancedDigits{5, 3, 7};
}

class BalancedCodec final : public Codec {
 public:
  std::string_view name() const override { return "BALANCED"; }
  std::string_view description() const override {
    return "3 levels (1 bit, stored in 1.6) or 5 (2 bits, in 2.33), a half scale per group";
  }
  CodecParams usual_params() const override { return {.bits = 2, .group_size = 128}; }
  bool takes_activation_bits() const override { return true; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  bool can_encode() const override { return true; }
  // The nearest levels of the grids that fit_balanced_grid (int_group_fit.h) finds.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

// The codec as this type, or nullptr when it is another.
const BalancedCodec* balanced_codec(const Codec& codec);

// Integer groups (INT_SYM) of one bit more that hold the same values.
PackedTensor balanced_as_integers(const PackedTensor& tensor);
// The codec's own layout of such integer groups, whose levels are all between the lowest and the highest that a
// balanced grid has among them; throws an Error naming the tensor otherwise.
PackedTensor balanced_from_integers(const PackedTensor& integers);

}  // namespace lathe
