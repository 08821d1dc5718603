// Products with SPQR weights (tensor/codecs/spqr.h): levels, codes and outliers of a tile of rows side by side, laid
// out once when the layer is prepared.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/laid_out.h"

namespace lathe::kernels::cpu {

inline constexpr std::size_t kSpqrHalf = 16;  // columns; groups are whole numbers of these

struct SpqrWeight final : LaidOut {
  BitPlanes levels;
  std::size_t groups = 0;              // of a row
  std::size_t group_halves = 0;        // 16 columns each, per group
  std::vector<std::uint8_t> codes;     // [tiles][groups][tile_rows]: scale code | zero code << 3
  std::vector<std::uint16_t> tiles;    // [ceil(rows / 16)][groups][4], half precision, as the codec has them
  std::vector<std::uint32_t> entries;  // [steps][tile_rows]: column | half-precision number << 16; zeros where a row
                                       // has fewer outliers than its tile has steps
  std::vector<std::uint64_t> ends;     // [tiles + 1], in steps

  std::uint64_t bytes() const override {
    return levels.bytes + codes.size() + 2 * tiles.size() + 4 * entries.size() + 8 * ends.size();
  }
};

// An outlier's entry holds what it has more than the grid's value at its place, rounded to half precision, so that the
// kernel only adds.
SpqrWeight lay_out_spqr(const PackedTensor& weight, std::size_t tile_rows);

// Nothing where groups are not multiples of 16 columns or rows do not begin with a tile.
std::optional<Matmul> spqr_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
