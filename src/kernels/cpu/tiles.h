// Weights of block codecs the way most kernels read them: rows in tiles of as many as a vector has lanes (of floats: as
// some vectors have), interleaved word by word, so that one aligned load brings the same word of every row and a thread
// reads one straight stream. A tile has the bytes of its rows, rounded up to cache lines, in chunks of 8 blocks:
//   loose [blocks][lanes][loose_bytes]   what of a block does not fit into words: a scale of 1 or 2 bytes, or nothing
//   words [blocks][words][lanes]         the other bytes of a block in their order, a word at a time
// Lanes beyond the last row hold zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace lathe::kernels::cpu {

inline constexpr std::uint64_t kTileChunk = 8;  // blocks

struct TileFormat {
  std::uint32_t lanes = 0;  // rows per tile; 0: the kernel reads the blocks as the file has them
  std::uint32_t block_columns = 0, block_bytes = 0;
  std::uint32_t loose_at = 0, loose_bytes = 0;  // offset in a block, a multiple of word_bytes
  std::uint32_t word_bytes = 4;                 // 2 or 4

  constexpr std::uint32_t block_words() const { return (block_bytes - loose_bytes) / word_bytes; }
  // Where the words of a chunk of so many blocks begin, in bytes; a multiple of 64.
  constexpr std::uint64_t loose_chunk_bytes(std::uint64_t blocks) const {
    return (blocks * lanes * loose_bytes + 63) / 64 * 64;
  }
  std::uint64_t tile_bytes(std::uint64_t columns) const;
  std::uint64_t bytes(std::uint64_t rows, std::uint64_t columns) const {
    return (rows + lanes - 1) / lanes * tile_bytes(columns);
  }
};

// blocks: [rows][columns / block_columns][block_bytes], whose pages are dropped from memory on the way when they belong
// to a file; tiles: format.bytes(rows, columns) zeroed bytes.
void pack_tiles(ThreadPool& pool, const TileFormat& format, std::uint64_t rows, std::uint64_t columns,
                std::span<const std::byte> blocks, std::byte* tiles);

}  // namespace lathe::kernels::cpu
