// Lays SPQR weights out for their kernel: levels and codes of a tile of rows side by side, outliers step by step.
#include <algorithm>

#include "base/half.h"
#include "kernels/cpu/spqr.h"
#include "tensor/codecs/spqr.h"

namespace lathe::kernels::cpu {

SpqrWeight lay_out_spqr(const PackedTensor& weight, std::size_t tile_rows) {
  const std::size_t rows = weight.shape.rows(), cols = weight.shape.cols();
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows, groups = spqr_groups(weight.params, cols);
  const auto group = static_cast<std::size_t>(weight.params.group_size);
  SpqrWeight out;
  out.groups = groups;
  out.group_halves = group / kSpqrHalf;
  out.codes.resize(tiles * groups * tile_rows);
  std::vector<std::vector<std::uint32_t>> entries(tile_rows);
  std::vector<std::uint8_t> levels(cols), scales(groups), zeros(groups);
  const auto finish_tile = [&] {
    std::size_t steps = 0;
    for (const auto& row : entries) steps = std::max(steps, row.size());
    for (std::size_t step = 0; step < steps; ++step) {
      for (const auto& row : entries) out.entries.push_back(step < row.size() ? row[step] : 0);
    }
    out.ends.push_back(out.entries.size() / tile_rows);
    for (auto& row : entries) row.clear();
  };
  out.ends.push_back(0);
  for (std::size_t row = 0; row < rows; ++row) {
    if (row % kSpqrTileRows == 0) {
      for (std::size_t g = 0; g < groups; ++g) {
        const SpqrTile tile = spqr_tile(weight, row, g);
        for (const float number : {tile.scale_min, tile.scale_step, tile.zero_min, tile.zero_step}) {
          out.tiles.push_back(half_from_float(number));
        }
      }
    }
    spqr_levels(weight, row, levels);
    spqr_codes(weight, row, scales, zeros);
    for (std::size_t g = 0; g < groups; ++g) {
      out.codes[(row / tile_rows * groups + g) * tile_rows + row % tile_rows] =
          static_cast<std::uint8_t>(scales[g] | zeros[g] << kSpqrCodeBits);
    }
    for (const SpqrOutlier& outlier : spqr_outliers(weight, row)) {
      const std::size_t g = outlier.column / group;
      const SpqrGrid grid = spqr_tile(weight, row, g).grid(scales[g], zeros[g]);
      const float more = outlier.value - grid.value(levels[outlier.column]);
      entries[row % tile_rows].push_back(static_cast<std::uint32_t>(half_from_float(more)) << 16 | outlier.column);
    }
    if ((row + 1) % tile_rows == 0 || row + 1 == rows) finish_tile();
  }
  out.levels = make_bit_planes(rows, cols, weight.params.bits, tile_rows,
                               [&](std::size_t row, std::span<std::uint8_t> l) { spqr_levels(weight, row, l); });
  return out;
}

}  // namespace lathe::kernels::cpu
