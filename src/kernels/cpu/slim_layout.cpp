// Lays SLIM weights out for their kernel: levels of a tile of rows side by side, block after block.
#include <algorithm>

#include "base/half.h"
#include "kernels/cpu/slim.h"
#include "tensor/codecs/slim.h"

namespace lathe::kernels::cpu {

SlimWeight lay_out_slim(const PackedTensor& weight, std::size_t tile_rows) {
  const std::size_t rows = weight.shape.rows(), cols = weight.shape.cols();
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows;
  SlimWeight out;
  out.widths = slim_widths(weight);
  out.chunks = (cols + kIntChunk - 1) / kIntChunk;
  out.block_chunks = static_cast<std::size_t>(weight.params.group_size) / kIntChunk;
  const std::size_t blocks = out.widths.size();
  std::vector<std::size_t> words_before(out.chunks + 1);  // of a tile, by chunk
  for (std::size_t chunk = 0; chunk < out.chunks; ++chunk) {
    words_before[chunk + 1] = words_before[chunk] + out.widths[chunk / out.block_chunks] * tile_rows;
  }
  const std::size_t tile_words = words_before.back();
  out.tile_bytes = tile_words * sizeof(std::uint32_t);
  out.level_bytes = tiles * out.tile_bytes;
  out.levels = aligned_zeros(out.level_bytes);
  out.scales.resize(tiles * blocks * tile_rows);
  out.zeros.resize(out.scales.size());
  auto* words = reinterpret_cast<std::uint32_t*>(out.levels.get());
  std::vector<std::uint8_t> levels(out.chunks * kIntChunk);
  std::vector<IntGrid> grids(blocks);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t tile = row / tile_rows, lane = row % tile_rows;
    slim_levels(weight, out.widths, row, std::span(levels).first(cols));
    slim_grids(weight, out.widths, row, grids);
    for (std::size_t chunk = 0; chunk < out.chunks; ++chunk) {
      fill_chunk(levels.data() + chunk * kIntChunk, out.widths[chunk / out.block_chunks], tile_rows,
                 words + tile * tile_words + words_before[chunk] + lane);
    }
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t at = (tile * blocks + b) * tile_rows + lane;
      out.scales[at] = half_from_float(grids[b].scale);
      out.zeros[at] = static_cast<std::uint8_t>(grids[b].zero / slim_zero_unit(out.widths[b]));
    }
  }
  return out;
}

}  // namespace lathe::kernels::cpu
