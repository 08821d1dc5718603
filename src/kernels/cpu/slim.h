// Products with SLIM weights (tensor/codecs/slim.h), laid out once when the layer is prepared.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/laid_out.h"

namespace lathe::kernels::cpu {

struct SlimWeight final : LaidOut {
  std::size_t chunks = 0;             // of a row, 32 columns each
  std::size_t block_chunks = 0;       // of a block; the last may have fewer
  std::vector<std::uint8_t> widths;   // [blocks]
  std::size_t tile_bytes = 0;         // of levels
  std::uint64_t level_bytes = 0;      // of all tiles
  std::shared_ptr<std::byte> levels;  // [tiles][chunks][width of the chunk's block][tile_rows] words of 4 bytes
  std::vector<std::uint16_t> scales;  // half precision, [tiles][blocks][tile_rows]
  std::vector<std::uint8_t> zeros;    // likewise, in the codec's units

  std::uint64_t bytes() const override { return level_bytes + 2 * scales.size() + zeros.size() + widths.size(); }
};

SlimWeight lay_out_slim(const PackedTensor& weight, std::size_t tile_rows);

// Nothing where blocks are not multiples of 32 columns.
std::optional<Matmul> slim_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
