#include "kernels/cpu/tiles.h"

#include <algorithm>
#include <cstring>

#include "base/file.h"

namespace lathe::kernels::cpu {
namespace {

// Source bytes a task packs before it drops their pages.
constexpr std::uint64_t kTaskBytes = 1 << 20;

// One tile from `count` rows that lie row_bytes apart.
template <std::uint64_t kWordBytes>
void pack_tile(const TileFormat& format, std::uint64_t columns, std::uint64_t count, const std::byte* rows,
               std::uint64_t row_bytes, std::byte* tile) {
  const std::uint64_t blocks = columns / format.block_columns;
  std::byte *loose = tile, *word = tile;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    if (block % kTileChunk == 0) {
      loose = word;
      word += format.loose_chunk_bytes(std::min(kTileChunk, blocks - block));
    }
    const std::byte* source = rows + block * format.block_bytes;
    for (std::uint64_t lane = 0; format.loose_bytes > 0 && lane < count; ++lane) {
      std::memcpy(loose + lane * format.loose_bytes, source + lane * row_bytes + format.loose_at, format.loose_bytes);
    }
    loose += format.lanes * format.loose_bytes;
    for (std::uint64_t i = 0; i < format.block_words(); ++i, word += format.lanes * kWordBytes) {
      const std::byte* from = source + kWordBytes * i + (kWordBytes * i >= format.loose_at ? format.loose_bytes : 0);
      for (std::uint64_t lane = 0; lane < count; ++lane) {
        std::memcpy(word + lane * kWordBytes, from + lane * row_bytes, kWordBytes);
      }
    }
  }
}

}  // namespace

std::uint64_t TileFormat::tile_bytes(std::uint64_t columns) const {
  const std::uint64_t blocks = columns / block_columns;
  const std::uint64_t loose =
      blocks / kTileChunk * loose_chunk_bytes(kTileChunk) + loose_chunk_bytes(blocks % kTileChunk);
  return loose + (blocks * block_words() * lanes * word_bytes + 63) / 64 * 64;
}

void pack_tiles(ThreadPool& pool, const TileFormat& format, std::uint64_t rows, std::uint64_t columns,
                std::span<const std::byte> blocks, std::byte* tiles) {
  const std::uint64_t row_bytes = columns / format.block_columns * format.block_bytes;
  const std::uint64_t tile_source = format.lanes * row_bytes, tile_bytes = format.tile_bytes(columns);
  const auto pack = format.word_bytes == 2 ? pack_tile<2> : pack_tile<4>;
  const std::uint64_t grain = std::max<std::uint64_t>(1, kTaskBytes / std::max<std::uint64_t>(1, tile_source));
  pool.parallel_for((rows + format.lanes - 1) / format.lanes, grain, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t tile = begin; tile < end; ++tile) {
      const std::uint64_t first = tile * format.lanes, count = std::min<std::uint64_t>(format.lanes, rows - first);
      pack(format, columns, count, blocks.data() + first * row_bytes, row_bytes, tiles + tile * tile_bytes);
    }
    drop_pages(blocks.subspan(begin * tile_source,
                              std::min<std::uint64_t>(end * tile_source, rows * row_bytes) - begin * tile_source));
  });
}

}  // namespace lathe::kernels::cpu
