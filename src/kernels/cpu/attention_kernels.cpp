// Scores: lanes run along the tokens, whose keys lie transposed, so each score is one chain over the dimensions.
// Values: lanes run along the dimensions, and each sum is one chain over the tokens. Neither order depends on how many
// queries share a tile or where a prompt was cut.
#include "kernels/cpu/attention_kernels.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/q8_input.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_kernels.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
const AttentionKernels* attention_table() { return nullptr; }
#else

template <class T>
HWY_INLINE VF load_kv(const T* p) {
  if constexpr (sizeof(T) == 4) {
    return hn::LoadU(DF(), p);
  } else if constexpr (sizeof(T) == 2) {
    return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<T, DF>(), p));
  } else {
    return hn::ConvertTo(DF(), hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<T, DF>(), p)));
  }
}

// --- storing ---

// x [n] as T, `stride` apart.
template <class T>
HWY_INLINE void store_head(const float* x, std::size_t n, T* out, std::size_t stride, float* scale) {
  const DF d;
  const hn::Rebind<T, DF> narrow;
  Q8Scale q8{1, 1};
  if constexpr (sizeof(T) == 1) {
    // As integers, so that NaN and infinity come out on top.
    VI largest = hn::Zero(DI());
    for (std::size_t i = 0; i < n; i += kLanes) {
      const VF v = n - i >= kLanes ? hn::LoadU(d, x + i) : load_tail(d, x + i, n - i);
      largest = hn::Max(largest, hn::BitCast(DI(), hn::Abs(v)));
    }
    q8 = q8_scale(hn::GetLane(hn::BitCast(d, hn::MaxOfLanes(DI(), largest))));
    *scale = q8.scale;
  }
  alignas(64) T buffer[kLanes];
  for (std::size_t i = 0; i < n; i += kLanes) {
    const std::size_t count = std::min(kLanes, n - i);
    const VF v = count == kLanes ? hn::LoadU(d, x + i) : load_tail(d, x + i, count);
    if constexpr (sizeof(T) == 4) {
      hn::Store(v, narrow, buffer);
    } else if constexpr (sizeof(T) == 2) {
      hn::Store(hn::DemoteTo(narrow, v), narrow, buffer);
    } else {
      const VI q = q8.inverse == 0 ? hn::Zero(DI()) : hn::NearestInt(hn::Mul(v, hn::Set(d, q8.inverse)));
      hn::Store(hn::DemoteTo(narrow, q), narrow, buffer);
    }
    if (stride == 1) {
      std::memcpy(out + i, buffer, count * sizeof(T));
    } else {
      for (std::size_t j = 0; j < count; ++j) out[(i + j) * stride] = buffer[j];
    }
  }
}

template <class T>
void store_as(const KvLayout& layout, const KvGeometry& geometry, void* block, std::uint64_t slot, std::uint64_t head,
              const float* key, const float* value) {
  const bool scaled = sizeof(T) == 1;
  store_head(key, layout.k_dim, reinterpret_cast<T*>(geometry.keys(block, head)) + slot, geometry.slots,
             scaled ? geometry.key_scales(block, head) + slot : nullptr);
  store_head(value, layout.v_dim, reinterpret_cast<T*>(geometry.values(block, head)) + slot * geometry.v_pad, 1,
             scaled ? geometry.value_scales(block, head) + slot : nullptr);
}

// --- scores ---

// A vector's worth of tokens of one block.
struct SlotVector {
  const void* keys;     // dimension 0
  const float* scales;  // int8 only
  std::ptrdiff_t at;    // of its first token, counted from the partition's first slot
};

// Raw dot products of kQueries queries with kVectors vectors of tokens.
template <class T, int kQueries, int kVectors>
HWY_INLINE void dot_tile(const AttentionTile& tile, std::size_t query, const SlotVector* vectors, float* scores) {
  const DF d;
  const T* keys[kVectors];
  const float* q[kQueries];
  VF sums[kQueries][kVectors];
  for (int v = 0; v < kVectors; ++v) keys[v] = static_cast<const T*>(vectors[v].keys);
  for (int i = 0; i < kQueries; ++i) {
    q[i] = tile.query[query + static_cast<std::size_t>(i)].q;
    for (int v = 0; v < kVectors; ++v) sums[i][v] = hn::Zero(d);
  }
  const std::size_t stride = tile.geometry->slots, k_dim = tile.layout->k_dim;
  for (std::size_t k = 0; k < k_dim; ++k) {
    VF key[kVectors];
    for (int v = 0; v < kVectors; ++v) key[v] = load_kv(keys[v] + k * stride);
    for (int i = 0; i < kQueries; ++i) {
      const VF in = hn::Set(d, q[i][k]);
      for (int v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(in, key[v], sums[i][v]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    float* row = scores + (query + static_cast<std::size_t>(i)) * kScoreStride + kKvPad;
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (sizeof(T) == 1) sums[i][v] = hn::Mul(sums[i][v], hn::LoadU(d, vectors[v].scales));
      hn::StoreU(sums[i][v], d, row + vectors[v].at);
    }
  }
}

template <class T, int kVectors>
HWY_INLINE void dot_queries(const AttentionTile& tile, const SlotVector* vectors, float* scores) {
  std::size_t query = 0;
  for (; query + 4 <= tile.queries; query += 4) dot_tile<T, 4, kVectors>(tile, query, vectors, scores);
  if (query + 2 <= tile.queries) dot_tile<T, 2, kVectors>(tile, query, vectors, scores), query += 2;
  if (query < tile.queries) dot_tile<T, 1, kVectors>(tile, query, vectors, scores);
}

// Calls body(block, begin, end) for the part [begin, end) of each block that holds slots [lo, hi) of the partition.
template <class Body>
HWY_INLINE void for_blocks(const AttentionTile& tile, std::size_t lo, std::size_t hi, const Body& body) {
  const std::uint64_t tokens = tile.layout->block_tokens;
  for (std::uint64_t slot = tile.first + lo; slot < tile.first + hi;) {
    const std::uint64_t begin = slot % tokens;
    const std::uint64_t end = std::min(tokens, begin + (tile.first + hi - slot));
    body(tile.blocks[slot / tokens], begin, end, static_cast<std::ptrdiff_t>(slot - tile.first));
    slot += end - begin;
  }
}

// Asks for `bytes` from p on to come into the second-level cache.
HWY_INLINE void prefetch(const void* p, std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64;
  for (std::size_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(static_cast<const std::byte*>(p) + i, 0, 2);
}

template <class T>
void raw_scores(const AttentionTile& tile, float* scores) {
  constexpr int kVectors = HWY_MAX_BYTES == 64 ? 4 : 2;
  SlotVector vectors[kVectors];
  int count = 0;
  for_blocks(tile, tile.lo, tile.hi,
             [&](void* block, std::uint64_t begin, std::uint64_t end, std::ptrdiff_t at) HWY_ATTR {
               const T* keys = reinterpret_cast<const T*>(tile.geometry->keys(block, tile.kv_head));
               // The values are read next, while these keys are being multiplied they can come.
               const std::size_t value_bytes = tile.geometry->v_pad * sizeof(T);
               prefetch(tile.geometry->values(block, tile.kv_head) + begin * value_bytes, (end - begin) * value_bytes);
               const std::uint64_t aligned = begin / kLanes * kLanes;
               for (std::uint64_t slot = aligned; slot < end; slot += kLanes) {
                 vectors[count++] = {keys + slot,
                                     sizeof(T) == 1 ? tile.geometry->key_scales(block, tile.kv_head) + slot : nullptr,
                                     at + static_cast<std::ptrdiff_t>(slot) - static_cast<std::ptrdiff_t>(begin)};
                 if (count == kVectors) dot_queries<T, kVectors>(tile, vectors, scores), count = 0;
               }
             });
  for (int v = 0; v < count; ++v) dot_queries<T, 1>(tile, vectors + v, scores);
}

void compute_scores(const AttentionTile& tile, float* scores) {
  const DF d;
  const DI di;
  switch (tile.layout->codec) {
    case KvCodec::kF32:
      raw_scores<float>(tile, scores);
      break;
    case KvCodec::kF16:
      raw_scores<hwy::float16_t>(tile, scores);
      break;
    case KvCodec::kI8:
      raw_scores<std::int8_t>(tile, scores);
      break;
  }
  const VF scale = hn::Set(d, tile.scale), cap = hn::Set(d, tile.softcap);
  for (std::size_t i = 0; i < tile.queries; ++i) {
    const TileQuery& query = tile.query[i];
    float* row = scores + i * kScoreStride + kKvPad;
    const VF slope = hn::Set(d, query.alibi_slope);
    for (std::size_t slot = query.lo / kLanes * kLanes; slot < query.hi; slot += kLanes) {
      VF s = hn::Mul(hn::LoadU(d, row + slot), scale);
      if (tile.softcap > 0) s = hn::Mul(cap, vtanh(hn::Div(s, cap)));
      const VI distance = hn::Iota(di, query.distance + static_cast<std::int32_t>(slot));
      if (query.alibi_slope != 0) s = hn::Add(s, hn::Mul(slope, hn::ConvertTo(d, distance)));
      if (query.relative_bias != nullptr) {
        const VI held = hn::Min(hn::Max(distance, hn::Set(di, -tile.relative_span)), hn::Set(di, tile.relative_span));
        s = hn::Add(s, hn::GatherIndex(d, query.relative_bias, held));
      }
      hn::StoreU(s, d, row + slot);
    }
  }
}

// --- partials ---

// Scores of one query to exp(score - max), in place, and 0 outside of what it sees up to whole vectors.
HWY_INLINE Partial exponentials(const TileQuery& query, float* row) {
  const DF d;
  const DI di;
  Partial partial;
  if (query.hi <= query.lo) return partial;
  const std::size_t begin = query.lo / kLanes * kLanes;
  const VI lo = hn::Set(di, static_cast<std::int32_t>(query.lo)), hi = hn::Set(di, static_cast<std::int32_t>(query.hi));
  const VF lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto visible = [&](std::size_t slot) HWY_ATTR {
    const VI at = hn::Iota(di, static_cast<std::int32_t>(slot));
    return hn::RebindMask(d, hn::AndNot(hn::Lt(at, lo), hn::Lt(at, hi)));
  };
  VF largest = lowest;
  for (std::size_t slot = begin; slot < query.hi; slot += kLanes) {
    const VF s = hn::IfThenElse(visible(slot), hn::LoadU(d, row + slot), lowest);
    largest = hn::IfThenElse(hn::Gt(s, largest), s, largest);  // a NaN score shows in the sum
  }
  partial.max = hn::GetLane(hn::MaxOfLanes(d, largest));
  const VF max = hn::Set(d, partial.max);
  VF sum = hn::Zero(d);
  for (std::size_t slot = begin; slot < query.hi; slot += kLanes) {
    const VF e = hn::IfThenElseZero(visible(slot), vexp(hn::Sub(hn::LoadU(d, row + slot), max)));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, row + slot);
  }
  partial.sum = hn::GetLane(hn::SumOfLanes(d, sum));
  return partial;
}

// values[query] += weight[slot] * value[slot] for slots [lo, hi), kVectors vectors of dimensions from `dim` on.
template <class T, int kQueries, int kVectors>
HWY_INLINE void accumulate_dims(const AttentionTile& tile, std::size_t lo, std::size_t hi, std::size_t dim,
                                const float* weights, float* values) {
  const DF d;
  const std::size_t v_pad = tile.geometry->v_pad;
  VF sums[kQueries][kVectors];
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] =
          hn::LoadU(d, values + static_cast<std::size_t>(i) * v_pad + dim + static_cast<std::size_t>(v) * kLanes);
    }
  }
  for_blocks(tile, lo, hi, [&](void* block, std::uint64_t begin, std::uint64_t end, std::ptrdiff_t at) HWY_ATTR {
    const T* value = reinterpret_cast<const T*>(tile.geometry->values(block, tile.kv_head)) + begin * v_pad + dim;
    const float* weight = weights + at;
    for (std::uint64_t slot = begin; slot < end; ++slot, value += v_pad, ++weight) {
      VF loaded[kVectors];
      for (int v = 0; v < kVectors; ++v) loaded[v] = load_kv(value + static_cast<std::size_t>(v) * kLanes);
      for (int i = 0; i < kQueries; ++i) {
        const VF w = hn::Set(d, weight[static_cast<std::size_t>(i) * kScoreStride]);
        for (int v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(w, loaded[v], sums[i][v]);
      }
    }
  });
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[i][v], d,
                 values + static_cast<std::size_t>(i) * v_pad + dim + static_cast<std::size_t>(v) * kLanes);
    }
  }
}

template <class T, int kQueries>
HWY_INLINE void accumulate(const AttentionTile& tile, std::size_t lo, std::size_t hi, const float* weights,
                           float* values) {
  if (hi <= lo) return;
  constexpr int kVectors = HWY_MAX_BYTES == 64 ? 4 : 2;
  std::size_t dim = 0;
  const std::size_t v_pad = tile.geometry->v_pad;
  for (; dim + kVectors * kLanes <= v_pad; dim += kVectors * kLanes) {
    accumulate_dims<T, kQueries, kVectors>(tile, lo, hi, dim, weights, values);
  }
  for (; dim < v_pad; dim += kLanes) accumulate_dims<T, kQueries, 1>(tile, lo, hi, dim, weights, values);
}

// kQueries queries whose weights and values begin at the given rows. Slots that all of them see are read once for all;
// slots that only some see, one query at a time, so that nothing a query must not see gets near its sums.
template <class T, int kQueries>
HWY_INLINE void accumulate_tile(const AttentionTile& tile, std::size_t first, const float* weights, float* values) {
  const TileQuery* query = tile.query + first;
  std::size_t lo = query[0].lo, hi = query[0].hi;
  for (int i = 1; i < kQueries; ++i) lo = std::max(lo, query[i].lo), hi = std::min(hi, query[i].hi);
  hi = std::max(lo, hi);
  const std::size_t v_pad = tile.geometry->v_pad;
  for (std::size_t i = 0; i < kQueries; ++i) {
    accumulate<T, 1>(tile, query[i].lo, std::min(lo, query[i].hi), weights + i * kScoreStride, values + i * v_pad);
  }
  accumulate<T, kQueries>(tile, lo, hi, weights, values);
  for (std::size_t i = 0; i < kQueries; ++i) {
    accumulate<T, 1>(tile, std::max(hi, query[i].lo), query[i].hi, weights + i * kScoreStride, values + i * v_pad);
  }
}

template <class T>
void weighted_values(const AttentionTile& tile, float* scores, float* values) {
  const std::size_t v_pad = tile.geometry->v_pad;
  float* weights = scores + kKvPad;
  if constexpr (sizeof(T) == 1) {  // a value's scale goes into its weight
    for (std::size_t i = 0; i < tile.queries; ++i) {
      float* row = weights + i * kScoreStride;
      for_blocks(tile, tile.query[i].lo, tile.query[i].hi,
                 [&](void* block, std::uint64_t begin, std::uint64_t end, std::ptrdiff_t at) HWY_ATTR {
                   const float* scales = tile.geometry->value_scales(block, tile.kv_head) + begin;
                   for (std::uint64_t s = 0; s < end - begin; ++s) row[static_cast<std::uint64_t>(at) + s] *= scales[s];
                 });
    }
  }
  // The next task usually reads the keys of the next head.
  if (tile.kv_head + 1 < tile.layout->n_kv_heads) {
    for_blocks(tile, tile.lo, tile.hi, [&](void* block, std::uint64_t, std::uint64_t, std::ptrdiff_t) HWY_ATTR {
      prefetch(tile.geometry->keys(block, tile.kv_head + 1), tile.geometry->key_head_bytes);
    });
  }
  std::fill(values, values + tile.queries * v_pad, 0.0f);
  std::size_t i = 0;
  for (; i + 4 <= tile.queries; i += 4) accumulate_tile<T, 4>(tile, i, weights + i * kScoreStride, values + i * v_pad);
  for (; i < tile.queries; ++i) accumulate_tile<T, 1>(tile, i, weights + i * kScoreStride, values + i * v_pad);
}

void partial(const AttentionTile& tile, float* scores, Partial* partials, float* values) {
  compute_scores(tile, scores);
  for (std::size_t i = 0; i < tile.queries; ++i) {
    partials[i] = exponentials(tile.query[i], scores + i * kScoreStride + kKvPad);
  }
  switch (tile.layout->codec) {
    case KvCodec::kF32:
      return weighted_values<float>(tile, scores, values);
    case KvCodec::kF16:
      return weighted_values<hwy::float16_t>(tile, scores, values);
    case KvCodec::kI8:
      return weighted_values<std::int8_t>(tile, scores, values);
  }
}

void store(const KvLayout& layout, const KvGeometry& geometry, void* block, std::uint64_t slot, std::uint64_t head,
           const float* key, const float* value) {
  switch (layout.codec) {
    case KvCodec::kF32:
      return store_as<float>(layout, geometry, block, slot, head, key, value);
    case KvCodec::kF16:
      return store_as<hwy::float16_t>(layout, geometry, block, slot, head, key, value);
    case KvCodec::kI8:
      return store_as<std::int8_t>(layout, geometry, block, slot, head, key, value);
  }
}

const AttentionKernels* attention_table() {
  static constexpr AttentionKernels kTable{store, compute_scores, partial};
  return &kTable;
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(attention_table);
const AttentionKernels* attention_kernels(std::size_t target_index) {
  return HWY_DISPATCH_TABLE(attention_table)[target_index]();
}
}  // namespace lathe::kernels::cpu
#endif
