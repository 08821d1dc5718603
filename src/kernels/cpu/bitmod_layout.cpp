// Lays BITMOD weights out for their kernel: codes of a tile of rows side by side, and each row's own extra values.
#include <cstring>

#include "kernels/cpu/bitmod.h"
#include "tensor/codecs/bitmod.h"

namespace lathe::kernels::cpu {

BitmodWeight lay_out_bitmod(const PackedTensor& weight, std::size_t tile_rows) {
  const std::size_t rows = weight.shape.rows(), cols = weight.shape.cols();
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows, groups = bitmod_groups(weight.params, cols);
  const auto extras = bitmod_extras(weight.params.bits);
  BitmodWeight out;
  out.groups = groups;
  out.group_chunks = static_cast<std::size_t>(weight.params.group_size) / kIntChunk;
  out.scales.resize(tiles * groups * tile_rows);
  out.extras.resize(out.scales.size());
  out.factors.resize(tiles * tile_rows);
  if (rows > 0) std::memcpy(out.factors.data(), weight.part("factors").data(), rows * sizeof(std::uint16_t));
  const std::byte* scales = weight.part("scales").data();
  std::vector<std::uint8_t> types(groups);
  for (std::size_t row = 0; row < rows; ++row) {
    bitmod_types(weight, row, types);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t at = (row / tile_rows * groups + g) * tile_rows + row % tile_rows;
      out.scales[at] = std::to_integer<std::uint8_t>(scales[row * groups + g]);
      out.extras[at] = static_cast<std::int8_t>(extras[types[g]]);
    }
  }
  out.codes =
      make_bit_planes(rows, cols, weight.params.bits, tile_rows,
                      [&](std::size_t row, std::span<std::uint8_t> codes) { bitmod_codes(weight, row, codes); });
  return out;
}

}  // namespace lathe::kernels::cpu
