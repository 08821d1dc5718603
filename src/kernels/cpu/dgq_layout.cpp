// Lays DGQ weights out for their kernel: codes, scales and zero points of a tile of rows side by side.
#include <algorithm>

#include "kernels/cpu/dgq.h"
#include "tensor/codecs/dgq.h"

namespace lathe::kernels::cpu {

DgqWeight lay_out_dgq(const PackedTensor& weight, std::size_t tile_rows) {
  const std::size_t rows = weight.shape.rows(), cols = weight.shape.cols();
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows, groups = dgq_groups(weight.params, cols);
  DgqWeight out;
  out.groups = groups;
  out.group_chunks = static_cast<std::size_t>(weight.params.group_size) / kIntChunk;
  out.scales.resize(tiles * groups * tile_rows);
  out.zeros.resize(out.scales.size());
  out.factors.resize(tiles * tile_rows);
  out.codes = make_bit_planes(rows, cols, kDgqBits, tile_rows, [&](std::size_t row, std::span<std::uint8_t> codes) {
    const DgqRow found = dgq_row(weight, row);
    std::copy(found.codes.begin(), found.codes.end(), codes.begin());
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t at = (row / tile_rows * groups + g) * tile_rows + row % tile_rows;
      out.scales[at] = found.scales[g];
      out.zeros[at] = found.zeros[g];
    }
    out.factors[row] = found.factor;
  });
  return out;
}

}  // namespace lathe::kernels::cpu
