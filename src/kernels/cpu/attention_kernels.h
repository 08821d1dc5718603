// The vectorised parts of attention: storing tokens in KV blocks, and the partials of a tile of queries over one
// partition of a run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_block.h"
#include "kernels/cpu/partials.h"

namespace lathe::kernels::cpu {

inline constexpr std::size_t kPartition = 256;   // slots, aligned to slot 0 of the run
inline constexpr std::size_t kTileQueries = 16;  // (row, head) pairs that share a KV head
// Scores of a partition; vectors may begin before its first slot and end after its last.
inline constexpr std::size_t kScoreStride = kPartition + 2 * kKvPad;

struct TileQuery {
  const float* q = nullptr;    // k_dim
  std::size_t lo = 0, hi = 0;  // visible slots of the partition, counted from its first one; none when hi <= lo
  std::int32_t distance = 0;   // position of the partition's first slot less the query's
  float alibi_slope = 0;
  const float* relative_bias = nullptr;  // the head's, at distance 0
};

struct AttentionTile {
  const KvLayout* layout = nullptr;
  const KvGeometry* geometry = nullptr;
  float scale = 1, softcap = 0;
  std::int32_t relative_span = 0;
  std::uint64_t kv_head = 0;
  void* const* blocks = nullptr;  // of the run
  std::uint64_t first = 0;        // the partition's first slot in the run
  std::size_t lo = 0, hi = 0;     // slots that any query sees, counted from `first`
  std::size_t queries = 0;
  TileQuery query[kTileQueries];
};

struct AttentionKernels {
  // One token's key [k_dim] and value [v_dim] of a KV head.
  void (*store)(const KvLayout& layout, const KvGeometry& geometry, void* block, std::uint64_t slot, std::uint64_t head,
                const float* key, const float* value);
  // scores[query * kScoreStride + kKvPad + slot] for the slots each query sees; others hold anything.
  void (*scores)(const AttentionTile& tile, float* scores);
  // The tile's partials; values: [query][v_pad]. `scores` is work space, [kTileQueries][kScoreStride].
  void (*partial)(const AttentionTile& tile, float* scores, Partial* partials, float* values);
};

}  // namespace lathe::kernels::cpu
