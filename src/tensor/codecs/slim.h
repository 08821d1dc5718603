// SLIM (Huang et al. 2024, "SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models"):
// integers in blocks of columns, each block with a width of its own, N - 1, N or N + 1 bits, which all
// rows share; N = params.bits is the average where as many blocks have a bit less as have one more. Every row has a
// scale and a zero point per block: x[r, c] = scale * (level - zero). Zero points are bytes in units of 2^(width - 8),
// that is every 256th of the range of levels; so one bit has any mean that its two levels can lie around.
//
// Parts: "planes" U8 [..., bytes]: of a row's blocks one after another, `width` bit planes (bit_planes.h) of
// ceil(block's columns / 8) bytes each. "scales" F16 and "zeros" U8 [..., blocks]. "widths" U8 [blocks], where they
// differ from N.
//
// Parameters: bits, 2 to 6, the N above; group_size, the columns of a block, a positive multiple of 8 (the last block
// may be short); stored, the bytes of a row of "planes", or 0 where every block has N bits and there are no "widths".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/codec.h"
#include "tensor/codecs/int_group.h"

namespace lathe {

inline constexpr int kSlimLeastBits = 2, kSlimMostBits = 6;

// What a zero point is stored in multiples of, up to 255 of them.
constexpr float slim_zero_unit(int width) { return 1.0f / static_cast<float>(1 << (8 - width)); }

class SlimCodec final : public Codec {
 public:
  std::string_view name() const override { return "SLIM"; }
  std::string_view description() const override {
    return "integers whose width, N - 1, N or N + 1 bits, is chosen per block of columns; N is 2 to 6";
  }
  CodecParams usual_params() const override { return {.bits = 2, .group_size = 128}; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  std::string remark(const PackedTensor& tensor) const override;  // "widths 2232 1122"
  bool can_encode() const override { return true; }
  bool rows_stand_alone() const override { return false; }  // they share the widths
  // Widths by the blocks' sums of (weighted) squares: a bit less makes four times the squared error, so that a block
  // gives one to another that has more than four times its sum. Grids by fit_slim_grid.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

// The codec as this type, or nullptr when it is another.
const SlimCodec* slim_codec(const Codec& codec);

std::uint64_t slim_blocks(const CodecParams& params, std::uint64_t cols);
// Blocks that are not short: those whose widths may differ without the average becoming another than N.
std::uint64_t slim_whole_blocks(const CodecParams& params, std::uint64_t cols);

// One width per block of `cols` columns: a bit less for the first `pairs` blocks of `order` (blocks by rising
// importance), a bit more for the last `pairs`.
std::vector<std::uint8_t> slim_width_map(const CodecParams& params, std::uint64_t cols,
                                         std::span<const std::size_t> order, std::size_t pairs);

// --- reading ---
// Each throws an Error naming the tensor when its widths are damaged.
std::vector<std::uint8_t> slim_widths(const PackedTensor& tensor);  // [blocks]
// Levels and grids of one row, given slim_widths.
void slim_levels(const PackedTensor& tensor, std::span<const std::uint8_t> widths, std::uint64_t row,
                 std::span<std::uint8_t> levels);
void slim_grids(const PackedTensor& tensor, std::span<const std::uint8_t> widths, std::uint64_t row,
                std::span<IntGrid> grids);

// Levels [rows * cols] and grids [rows * blocks] from somebody else, under `widths` [blocks]. Throws an Error naming
// the tensor when a width, a level or a grid is not one that the codec can store.
PackedTensor pack_slim(const std::string& name, const Shape& shape, CodecParams params,
                       std::span<const std::uint8_t> widths, std::span<const std::uint8_t> levels,
                       std::span<const IntGrid> grids);

}  // namespace lathe
