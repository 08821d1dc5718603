// INT_SYM, INT_ASYM and BIPOLAR: integers of 1 to 8 bits with a half-precision scale, and in INT_ASYM a zero point, per
// group of columns: x[r, c] = scale * (q - zero). In INT_SYM the zero point is 2^(bits - 1), and 1/2 for one bit, whose
// two levels are +-scale / 2. It is the storage of GPTQ (Frantar et al. 2023) and AWQ (Lin et al. 2024) checkpoints,
// and what T-MAC (Wei et al. 2025) computes with. In BIPOLAR the zero point is (2^bits - 1) / 2: every bit is a sign,
// levels are odd multiples of scale / 2, as many above zero as below (Ma et al. 2025, "Efficient Arbitrary Precision
// Acceleration for Large Language Models on GPU Tensor Cores").
//
// Integers lie as bit planes, so that any width is the same code. A row of the part "planes" is plane 0 (the lowest bit
// of every integer), then plane 1, ..., each of ceil(cols / 8) bytes with column 8 i + j in bit j of byte i; bits past
// the last column are zero. Parts: "planes" U8 [..., bits * ceil(cols / 8)], "scales" F16 [..., groups of a row], and
// in INT_ASYM "zeros" U8 [..., groups of a row].
//
// Parameters: bits 1 to 8; group_size >= 1, or 0 for one group per row. The last group of a row may be short.
// activation_bits 1 to 8: products see their input as integers of that width too, with one scale per row of input.
#pragma once

#include <span>
#include <string>

#include "tensor/codec.h"

namespace lathe {

// A group's grid: level q has the value scale * (q - zero).
struct IntGrid {
  float scale = 0;  // a half-precision number
  float zero = 0;
  float value(int level) const { return scale * (static_cast<float>(level) - zero); }
};

// Where the zero point of a group is.
enum class IntGroupKind : std::uint8_t { kSymmetric, kAsymmetric, kBipolar };

class IntGroupCodec final : public Codec {
 public:
  explicit IntGroupCodec(IntGroupKind kind) : kind_(kind) {}
  IntGroupKind kind() const { return kind_; }
  bool stores_zeros() const { return kind_ == IntGroupKind::kAsymmetric; }

  std::string_view name() const override;
  std::string_view description() const override;
  bool takes_activation_bits() const override { return true; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  bool can_encode() const override { return true; }
  // Rounds to the nearest level of the grids that fit_int_grid finds.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;

 private:
  IntGroupKind kind_;
};

// The codec as this type, or nullptr when it is another.
const IntGroupCodec* int_group_codec(const Codec& codec);

// Columns of a group, and groups of a row of `cols`.
std::uint64_t int_group_columns(const CodecParams& params, std::uint64_t cols);
std::uint64_t int_groups(const CodecParams& params, std::uint64_t cols);
// The zero point of every group of the codecs that store none.
float fixed_zero(IntGroupKind kind, int bits);

// Integers and grids somebody else chose: levels[rows * cols], grids[rows * groups of a row]. Throws when a scale is no
// finite half-precision number or a zero point is not one the codec can store.
PackedTensor pack_int_groups(const std::string& name, const IntGroupCodec& codec, const Shape& shape,
                             const CodecParams& params, std::span<const std::uint8_t> levels,
                             std::span<const IntGrid> grids);

// The integers of one row.
void int_group_levels(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> levels);
// The grids of one row.
void int_group_grids(const PackedTensor& tensor, std::uint64_t row, std::span<IntGrid> grids);

}  // namespace lathe
