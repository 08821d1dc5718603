// FDB, flexible dual binarization (Chen et al. 2024, "DB-LLM: Accurate Dual-Binarization for Efficient LLMs"): a
// weight is the sum of two binary ones, x = first * b1 + second * b2 with bits b1 and b2, and two half-precision scales
// per group of columns. With first = -2 second the four levels are those of 2-bit integers; otherwise two are free.
//
// Parts: "planes" U8 [..., 2 * ceil(cols / 8)], the bits b1 of a row and then its bits b2 (bit_planes.h); "scales" F16
// [..., 2 * groups of a row], first and second of each group.
//
// Parameters: bits 2; group_size as of integer groups (int_group.h, whose int_groups() counts these too).
#pragma once

#include <span>
#include <string>

#include "tensor/codec.h"

namespace lathe {

// A group's scales. Code b1 + 2 * b2 means value(code).
struct FdbGrid {
  float first = 0, second = 0;  // half-precision numbers
  float value(int code) const { return ((code & 1) != 0 ? first : 0) + ((code & 2) != 0 ? second : 0); }
};

class FdbCodec final : public Codec {
 public:
  std::string_view name() const override { return "FDB"; }
  std::string_view description() const override { return "two binary planes, each with a half scale per group"; }
  CodecParams usual_params() const override { return {.bits = 2, .group_size = 64}; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  // How many bits of each plane are ones.
  std::string remark(const PackedTensor& tensor) const override;
  bool can_encode() const override { return true; }
  // The nearest levels of the grids that fit_fdb_grid finds.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

// The codec as this type, or nullptr when it is another.
const FdbCodec* fdb_codec(const Codec& codec);

// Codes and grids somebody else chose: codes[rows * cols], grids[rows * groups of a row]. Throws an Error naming the
// tensor when a scale is no finite half-precision number or a code has more than two bits.
PackedTensor pack_fdb(const std::string& name, const Shape& shape, const CodecParams& params,
                      std::span<const std::uint8_t> codes, std::span<const FdbGrid> grids);

// The codes of one row, [cols]; its grids, [groups of a row].
void fdb_codes(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> codes);
void fdb_grids(const PackedTensor& tensor, std::uint64_t row, std::span<FdbGrid> grids);

}  // namespace lathe
