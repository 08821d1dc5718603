// Where the blocks of a tile (tiles.h) lie.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/tile_dots-inl.h"

#if defined(LATHE_KERNELS_CPU_TILE_CURSOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_TILE_CURSOR_INL_H_
#undef LATHE_KERNELS_CPU_TILE_CURSOR_INL_H_
#else
#define LATHE_KERNELS_CPU_TILE_CURSOR_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// Walks the blocks of one tile.
template <class Codec>
struct TileCursor {
  TileBlock block;

  TileCursor(const std::byte* tile, std::size_t blocks) : left_(blocks) { begin_chunk(tile); }
  HWY_INLINE void advance() {
    block.words += Codec::kFormat.block_words() * kLanes;
    if constexpr (Codec::kFormat.loose_bytes > 0) {
      block.loose += Codec::kFormat.loose_bytes * kLanes;
      if (--left_ == 0 || --in_chunk_ > 0) return;
      begin_chunk(reinterpret_cast<const std::byte*>(block.words));
    }
  }

 private:
  HWY_INLINE void begin_chunk(const std::byte* chunk) {
    in_chunk_ = std::min<std::size_t>(left_, kTileChunk);
    const std::size_t loose = Codec::kFormat.loose_chunk_bytes(in_chunk_);
    block.loose = chunk;
    block.words = reinterpret_cast<const std::int32_t*>(chunk + loose);
    // All of it now: later lines lie behind what hardware is fetching by then.
    for (std::size_t i = 0; i < loose; i += 64) __builtin_prefetch(chunk + i);
  }
  std::size_t left_, in_chunk_ = 0;  // blocks
};

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
