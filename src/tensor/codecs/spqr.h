// SPQR (Dettmers et al. 2023, "SpQR: A Sparse-Quantized Representation for Near-Lossless LLM Weight Compression",
// sections 3 and 4): integers in small groups of columns whose scales and zero points are integers themselves, and the
// few weights that this would hurt most beside them, in half precision:
//   x[r, c] = the outlier of row r in column c, where there is one, or
//   x[r, c] = scale * (level - zero) with scale = scale_min + scale_step * code, zero = zero_min + zero_step * code'
// Codes of 3 bits belong to a row and a group; the four half-precision numbers behind them to a tile of 16 rows and the
// same group. Zero points are no whole numbers.
//
// Parts: "planes" U8 [..., bits * ceil(cols / 8)] and "grids" U8 [..., 6 * ceil(groups / 8)]: bit planes (bit_planes.h)
// of a row's levels; of its scale codes, then of its zero codes. "tiles" F16 [tiles of rows, 4 * groups]: scale_min,
// scale_step, zero_min, zero_step. Where there are outliers, in compressed rows: "ends" U32 [rows + 1], the number of
// outliers before each row and behind the last, and "outliers" U32 [params.stored], ordered by row and column: the
// column in the low 16 bits, a half-precision number in the high ones. Of a slice of rows, "ends" begins as it does in
// the whole.
//
// SPQR_ORDERED is the same with columns in an order of their own, so that groups are of columns that have something in
// common (the paper's "act-order"): column j of all the above is column order[j] of the weight. "order" U16 [cols] is
// the last part. Ranges of its columns cannot be decoded or cut out, only whole rows.
//
// Parameters: bits 2 to 4; group_size >= 1, the last group of a row may be short; row_shift, the place of the first row
// in its tile; stored, the number of outliers. At most 65536 columns.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "tensor/codec.h"

namespace lathe {

inline constexpr std::uint64_t kSpqrTileRows = 16;
inline constexpr int kSpqrCodeBits = 3;

// A group's grid: level q has the value scale * (q - zero).
struct SpqrGrid {
  float scale = 0, zero = 0;
  float value(int level) const { return scale * (static_cast<float>(level) - zero); }
};

// What the grids of a tile's rows are made of, for one group; half-precision numbers.
struct SpqrTile {
  float scale_min = 0, scale_step = 0, zero_min = 0, zero_step = 0;
  SpqrGrid grid(int scale_code, int zero_code) const {
    return {scale_min + scale_step * static_cast<float>(scale_code),
            zero_min + zero_step * static_cast<float>(zero_code)};
  }
};

struct SpqrOutlier {
  std::uint32_t column = 0;
  float value = 0;  // a half-precision number
};

class SpqrCodec final : public Codec {
 public:
  explicit SpqrCodec(bool ordered) : ordered_(ordered) {}
  bool ordered() const { return ordered_; }
  std::string_view name() const override { return ordered_ ? "SPQR_ORDERED" : "SPQR"; }
  std::string_view description() const override {
    return ordered_ ? "SPQR with columns in an order of their own, which inputs are brought into"
                    : "integers of 2-4 bits, small groups with 3-bit scales and zero points, sparse half outliers";
  }
  CodecParams usual_params() const override { return {.bits = 3, .group_size = 16}; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  bool can_encode() const override { return true; }
  bool rows_stand_alone() const override { return false; }
  // Grids cover their weights, but for the hundredth part of a tile's weights that are hardest on the rest of their
  // groups: those become outliers. Where columns have an order, it is by their squares, weighted by importance, the
  // largest first.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;

 private:
  bool ordered_;
};

// The codec as this type, or nullptr when it is another.
const SpqrCodec* spqr_codec(const Codec& codec);

std::uint64_t spqr_groups(const CodecParams& params, std::uint64_t cols);

// --- reading --- (columns as they are stored)

// Which column of the weight each stored column is; empty where that is the same. Throws an Error naming the tensor
// when the file's are damaged.
std::vector<std::uint32_t> spqr_order(const PackedTensor& tensor);
// The integers of one row, whatever outliers say.
void spqr_levels(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> levels);
// The codes of one row, [groups] each.
void spqr_codes(const PackedTensor& tensor, std::uint64_t row, std::span<std::uint8_t> scales,
                std::span<std::uint8_t> zeros);
SpqrTile spqr_tile(const PackedTensor& tensor, std::uint64_t row, std::uint64_t group);
// The outliers of one row, by column. Throws an Error naming the tensor when the file's are damaged.
std::vector<SpqrOutlier> spqr_outliers(const PackedTensor& tensor, std::uint64_t row);

// --- choosing ---

// The grid from the smallest to the largest value, zero included (Dettmers et al., section 4.2; zero points stay real).
SpqrGrid cover_spqr_grid(std::span<const float> x, int bits);
// The level nearest to x.
int nearest_spqr_level(const SpqrGrid& grid, float x, int bits);

// gains[k]: how much less the others of a group lose when they are rounded to the grid that covers them, with x[k] left
// out (section 4.1 of the paper). costs: what a squared error of each value counts.
void spqr_leave_one_out(std::span<const float> x, std::span<const float> costs, int bits, std::span<float> gains);

// The tile and codes that come closest to the grids of its rows (at most 16), which become what they stand for.
struct SpqrCodes {
  std::array<std::uint8_t, kSpqrTileRows> scale{}, zero{};
};
SpqrTile round_spqr_grids(std::span<SpqrGrid> grids, SpqrCodes& codes);

// Everything of a tensor with row_shift 0 that somebody else chose, columns as they are to be stored.
struct SpqrWeights {
  std::vector<std::uint8_t> levels;                    // [rows, cols]
  std::vector<std::uint8_t> scale_codes, zero_codes;   // [rows, groups]
  std::vector<SpqrTile> tiles;                         // [ceil(rows / 16), groups]
  std::vector<std::vector<SpqrOutlier>> row_outliers;  // [rows], each by column
  std::vector<std::uint32_t> order;                    // empty: SPQR; [cols]: SPQR_ORDERED, as spqr_order
  SpqrWeights(const Shape& shape, const CodecParams& params);
  // Of one group of the rows of a tile that begins at `row`.
  void set_grids(std::uint64_t row, std::uint64_t group, const SpqrTile& tile, const SpqrCodes& codes,
                 std::uint64_t rows);
};
// Throws an Error naming the tensor when its numbers are too large for half precision.
PackedTensor pack_spqr(const std::string& name, const Shape& shape, CodecParams params, const SpqrWeights& weights);

}  // namespace lathe
