#include "kernels/cpu/bit_planes.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "base/huge_pages.h"

namespace lathe::kernels::cpu {
namespace {

constexpr std::align_val_t kLine{64};

}  // namespace

std::shared_ptr<std::byte> aligned_zeros(std::uint64_t bytes) {
  if (bytes >= kHugePage) {
    if (std::shared_ptr<std::byte> memory = allocate_in_huge_pages(bytes)) return memory;
    throw std::bad_alloc();
  }
  const std::size_t size = std::max<std::size_t>(bytes, 64);
  void* memory = ::operator new(size, kLine);
  std::memset(memory, 0, size);
  return {static_cast<std::byte*>(memory), [](std::byte* freed) { ::operator delete(freed, kLine); }};
}

void fill_chunk(const std::uint8_t* levels, int bits, std::size_t tile_rows, std::uint32_t* out) {
  std::uint32_t words[kIntChunk / 4];  // 4 columns each
  for (std::size_t word = 0; word < kIntChunk / 4; ++word) std::memcpy(&words[word], levels + 4 * word, 4);
  for (; bits > 0; bits -= first_part(bits)) {
    const auto part = static_cast<std::size_t>(first_part(bits)), rest = static_cast<std::size_t>(bits) - part;
    const std::size_t fields = 8 / part;
    const std::uint32_t mask = 0x01010101u * ((1u << part) - 1);
    for (std::size_t i = 0; i < part; ++i, out += tile_rows) {
      for (std::size_t f = 0; f < fields; ++f) *out |= (words[i * fields + f] >> rest & mask) << (part * f);
    }
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
