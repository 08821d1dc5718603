// Integers of 1 to 8 bits as the dot kernels read them: one weight row per lane, and the bits of 32 columns of a row in
// `bits` words. Widths that are no power of two are cut into parts of 4, 2 and 1 bits, from the top; a part of u bits
// fills u words, whose byte k holds the u bits of column 4 w + k of each of the 8 / u groups of columns w in it.
// Shifting and masking then gives words of 4 columns, as the dot products want them (bit_planes-inl.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace lathe::kernels::cpu {

inline constexpr std::size_t kIntChunk = 32;  // columns whose bits lie together; the input's 8-bit blocks are as wide

// The largest part that `bits` begins with, from the top.
constexpr int first_part(int bits) { return bits >= 8 ? 8 : bits >= 4 ? 4 : bits >= 2 ? 2 : 1; }

// 64-byte aligned; in huge pages, where the system has them, from the size of one on.
std::shared_ptr<std::byte> aligned_zeros(std::uint64_t bytes);

// Tiles of `tile_rows` rows, the last padded with zeros; chunks of 32 columns, the last padded likewise.
struct BitPlanes {
  int bits = 0;
  std::size_t chunks = 0;             // of a row
  std::shared_ptr<std::byte> memory;  // [tiles][chunks][bits][tile_rows] words of 4 bytes
  std::uint64_t bytes = 0;
};

// levels_of(row, levels) writes the integers of a row, [columns].
BitPlanes make_bit_planes(std::size_t rows, std::size_t columns, int bits, std::size_t tile_rows,
                          const std::function<void(std::size_t row, std::span<std::uint8_t> levels)>& levels_of);

// The bits of 32 integers into the words of one lane, which lie tile_rows words apart and are zero.
void fill_chunk(const std::uint8_t* levels, int bits, std::size_t tile_rows, std::uint32_t* out);

}  // namespace lathe::kernels::cpu
