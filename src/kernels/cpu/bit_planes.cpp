#include "kernels/cpu/bit_planes.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

namespace lathe::kernels::cpu {
namespace {

constexpr std::align_val_t kLine{64};

}  // namespace

std::shared_ptr<std::byte> aligned_zeros(std::uint64_t bytes) {
  void* memory = ::operator new(std::max<std::uint64_t>(bytes, 64), kLine);
  std::memset(memory, 0, std::max<std::uint64_t>(bytes, 64));
  return {static_cast<std::byte*>(memory), [](std::byte* freed) { ::operator delete(freed, kLine); }};
}

void fill_chunk(const std::uint8_t* levels, int bits, std::size_t tile_rows, std::uint32_t* out) {
  for (; bits > 0; bits -= first_part(bits)) {
    const int part = first_part(bits), rest = bits - part, fields = 8 / part;
    for (int column = 0; column < static_cast<int>(kIntChunk); ++column) {
      const int word = column / 4;
      const std::uint32_t field = levels[column] >> rest & ((1u << part) - 1);
      out[static_cast<std::size_t>(word / fields) * tile_rows] |= field << (8 * (column % 4) + part * (word % fields));
    }
    out += static_cast<std::size_t>(part) * tile_rows;
  }
}

BitPlanes make_bit_planes(std::size_t rows, std::size_t columns, int bits, std::size_t tile_rows,
                          const std::function<void(std::size_t row, std::span<std::uint8_t> levels)>& levels_of) {
  BitPlanes planes{bits, (columns + kIntChunk - 1) / kIntChunk, nullptr, 0};
  const std::size_t words = tile_rows * static_cast<std::size_t>(bits), tiles = (rows + tile_rows - 1) / tile_rows;
  planes.bytes = tiles * planes.chunks * words * sizeof(std::uint32_t);
  planes.memory = aligned_zeros(planes.bytes);
  auto* out = reinterpret_cast<std::uint32_t*>(planes.memory.get());
  std::vector<std::uint8_t> levels(planes.chunks * kIntChunk);
  for (std::size_t row = 0; row < rows; ++row) {
    levels_of(row, std::span(levels).first(columns));
    std::uint32_t* tile = out + row / tile_rows * planes.chunks * words + row % tile_rows;
    for (std::size_t chunk = 0; chunk < planes.chunks; ++chunk) {
      fill_chunk(levels.data() + chunk * kIntChunk, bits, tile_rows, tile + chunk * words);
    }
  }
  return planes;
}

}  // namespace lathe::kernels::cpu
