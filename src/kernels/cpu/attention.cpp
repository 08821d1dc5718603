// Cuts an attention call into tasks. Many query rows (a prompt): a task is a tile of queries and walks the partitions
// it sees, merging as it goes. Few rows (decoding): a task is one partition for all queries of a KV head, those of
// every sequence that shares its blocks, whose keys and values are then read once, and a second loop merges. Both merge
// the same partials in the same order.
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/reference.h"
#include "kernels/cpu/visible.h"

namespace lathe::kernels::cpu {
namespace {

// Everything the tasks of one call read.
struct Call {
  const AttentionKernels* kernels;
  const KvLayout& layout;
  const KvGeometry geometry;
  const AttentionParams& params;
  const DeviceTensor& out;
  const DeviceTensor& q;
  std::uint64_t group;  // query heads per KV head

  const float* query(const AttentionSequence& sequence, bool far, std::uint64_t row, std::uint64_t head) const {
    const DeviceTensor& all = far ? params.far_q : q;
    return static_cast<const float*>(all.data) + (sequence.row_begin + row) * all.stride + head * layout.k_dim;
  }
  const float* sink(std::uint64_t head) const { return params.sinks ? params.sinks + head : nullptr; }
  float* output(const AttentionSequence& sequence, std::uint64_t row, std::uint64_t head) const {
    return static_cast<float*>(out.data) + (sequence.row_begin + row) * out.stride + head * layout.v_dim;
  }
};

struct Partition {
  const KvRun* run;
  std::uint64_t first;      // slot; a multiple of kPartition
  std::uint64_t mass_base;  // index of the run's first slot among those of all runs that receive mass
};

std::vector<Partition> partitions_of(const AttentionSequence& sequence) {
  std::vector<Partition> partitions;
  std::uint64_t base = 0;
  for (const KvRun& run : sequence.runs) {
    if (run.begin == run.end) continue;
    for (std::uint64_t first = run.begin / kPartition * kPartition; first < run.end; first += kPartition) {
      partitions.push_back({&run, first, base});
    }
    base += run.far ? 0 : run.end - run.begin;
  }
  return partitions;
}

struct SlotRange {
  std::uint64_t begin, end;
};

// The slots of a run at visible positions.
SlotRange visible_slots(const KvRun& run, const VisiblePositions& visible) {
  const std::uint64_t length = run.end - run.begin;
  // Slots before position p: as many as positions in [first_position, p).
  const auto before = [&](std::int64_t p) {
    if (p <= run.first_position) return std::uint64_t{0};
    return std::min(length, static_cast<std::uint64_t>(p) - static_cast<std::uint64_t>(run.first_position));
  };
  const std::uint64_t skipped = before(visible.first);
  const std::uint64_t seen =
      visible.last == std::numeric_limits<std::int64_t>::max() ? length : before(visible.last + 1);
  return {run.begin + skipped, run.begin + std::max(skipped, seen)};
}

AttentionTile empty_tile(const Call& call, std::uint64_t kv_head, const Partition& partition) {
  AttentionTile tile;
  tile.layout = &call.layout;
  tile.geometry = &call.geometry;
  tile.scale = call.params.scale;
  tile.softcap = call.params.softcap;
  tile.relative_span = call.params.relative_span;
  tile.kv_head = kv_head;
  tile.blocks = partition.run->blocks.data();
  tile.first = partition.first;
  tile.lo = kPartition, tile.hi = 0;
  return tile;
}

// Queries [begin, end) of a sequence and KV head, numbered row * group + head in the group. `partition` is that
// sequence's own, of the blocks that the tile was made for.
void add_queries(const Call& call, const AttentionSequence& sequence, std::uint64_t begin, std::uint64_t end,
                 const Partition& partition, AttentionTile& tile) {
  const std::int64_t slot_position = partition.run->first_position + static_cast<std::int64_t>(partition.first) -
                                     static_cast<std::int64_t>(partition.run->begin);
  for (std::uint64_t i = begin; i < end; ++i) {
    const std::uint64_t row = i / call.group, head = tile.kv_head * call.group + i % call.group;
    const SlotRange seen = visible_slots(*partition.run, visible_positions(call.params, sequence, *partition.run, row));
    TileQuery& query = tile.query[tile.queries++];
    query.q = call.query(sequence, partition.run->far, row, head);
    query.lo = std::clamp(seen.begin, partition.first, partition.first + kPartition) - partition.first;
    query.hi = std::clamp(seen.end, partition.first, partition.first + kPartition) - partition.first;
    query.distance =
        static_cast<std::int32_t>(slot_position - sequence.first_position - static_cast<std::int64_t>(row));
    if (call.params.alibi_slopes) query.alibi_slope = call.params.alibi_slopes[head];
    if (call.params.relative_bias) {
      const std::uint64_t span = static_cast<std::uint64_t>(tile.relative_span);
      query.relative_bias = call.params.relative_bias + head * (2 * span + 1) + span;
    }
    if (query.hi <= query.lo) {
      query.lo = query.hi = 0;
    } else {
      tile.lo = std::min(tile.lo, query.lo), tile.hi = std::max(tile.hi, query.hi);
    }
  }
}

// Whether any query of the tile sees any of its partition.
bool sees_something(const AttentionTile& tile) { return tile.lo < tile.hi; }

// A worker's space for one tile.
struct TileSpace {
  float *scores, *values, *merged;
  static std::size_t floats(const KvGeometry& geometry) { return kTileQueries * (kScoreStride + 2 * geometry.v_pad); }
  TileSpace(Scratch& scratch, const KvGeometry& geometry) : scores(scratch.get<float>(floats(geometry))) {
    values = scores + kTileQueries * kScoreStride;
    merged = values + kTileQueries * geometry.v_pad;
  }
};

// Adds to mass what each slot of a partition received: rows in order, heads in order, one at a time, so that the sums
// do not depend on how a prompt was cut. `totals`: the finished partials, [row][head].
void add_mass(const Call& call, const AttentionSequence& sequence, const Partition& partition, const Partial* totals,
              TileSpace& space) {
  const KvRun& run = *partition.run;
  for (std::uint64_t row = 0; row < sequence.row_count; ++row) {
    for (std::uint64_t kv_head = 0; kv_head < call.layout.n_kv_heads; ++kv_head) {
      for (std::uint64_t h = 0; h < call.group; h += kTileQueries) {
        const std::uint64_t begin = row * call.group + h, end = std::min(begin + kTileQueries, (row + 1) * call.group);
        AttentionTile tile = empty_tile(call, kv_head, partition);
        add_queries(call, sequence, begin, end, partition, tile);
        if (!sees_something(tile)) continue;
        call.kernels->scores(tile, space.scores);
        for (std::size_t i = 0; i < tile.queries; ++i) {
          const Partial& total = totals[row * call.params.n_heads + kv_head * call.group + h + i];
          const float* scores = space.scores + i * kScoreStride + kKvPad;
          const std::uint64_t head = kv_head * call.group + h + i;
          float* mass = sequence.mass + head * sequence.mass_stride + partition.mass_base;
          for (std::size_t slot = tile.query[i].lo; slot < tile.query[i].hi; ++slot) {
            mass[partition.first + slot - run.begin] += std::exp(scores[slot] - total.max) / total.sum;
          }
        }
      }
    }
  }
}

void run_sequence_by_tiles(ThreadPool& pool, CpuStream& stream, const Call& call, const AttentionSequence& sequence,
                           const std::vector<Partition>& partitions, Partial* totals) {
  const std::uint64_t queries = sequence.row_count * call.group;
  const std::uint64_t tiles = (queries + kTileQueries - 1) / kTileQueries;
  const std::size_t v_pad = call.geometry.v_pad;
  pool.parallel_for(tiles * call.layout.n_kv_heads, 1, [&](std::size_t task, std::size_t, int worker) {
    // Late tiles see the most keys: they go first, so that the loop ends evenly.
    const std::uint64_t kv_head = task / tiles, tile_index = tiles - 1 - task % tiles;
    const std::uint64_t begin = tile_index * kTileQueries, end = std::min(begin + kTileQueries, queries);
    TileSpace space(stream.worker[static_cast<std::size_t>(worker)], call.geometry);
    Partial merged[kTileQueries], partials[kTileQueries];
    for (const Partition& partition : partitions) {
      AttentionTile tile = empty_tile(call, kv_head, partition);
      add_queries(call, sequence, begin, end, partition, tile);
      if (!sees_something(tile)) continue;
      call.kernels->partial(tile, space.scores, partials, space.values);
      for (std::size_t i = 0; i < tile.queries; ++i) {
        merge_partial(merged[i], space.merged + i * v_pad, partials[i], space.values + i * v_pad, call.layout.v_dim);
      }
    }
    for (std::uint64_t i = begin; i < end; ++i) {
      const std::uint64_t row = i / call.group, head = kv_head * call.group + i % call.group;
      const Partial total = finish_partial(merged[i - begin], space.merged + (i - begin) * v_pad,
                                           call.output(sequence, row, head), call.layout.v_dim, call.sink(head));
      if (totals) totals[row * call.params.n_heads + head] = total;
    }
  });
}

// A partition as one sequence of the split path sees it.
struct Look {
  const AttentionSequence* sequence;
  Partition partition;
  std::size_t shared = 0;  // index of the SharedPartition
  std::size_t first = 0;   // its first query among those that look at it, of one KV head
};

// The same slots of the same blocks, as far as several sequences see them: a prefix they share (Parrot, Lin et al.
// 2024, section 5.3).
struct SharedPartition {
  std::vector<std::size_t> looks;
  std::size_t queries = 0;  // of one KV head
  std::size_t at = 0;       // its first partial: [kv head][query]
};

std::span<void* const> blocks_of(const Partition& partition, std::uint64_t block_tokens) {
  const std::uint64_t begin = partition.first / block_tokens;
  const std::uint64_t end = (std::min(partition.first + kPartition, partition.run->end) - 1) / block_tokens + 1;
  return partition.run->blocks.subspan(begin, end - begin);
}

bool same_memory(const Partition& a, const Partition& b, std::uint64_t block_tokens) {
  return a.first == b.first && a.run->far == b.run->far &&
         std::ranges::equal(blocks_of(a, block_tokens), blocks_of(b, block_tokens));
}

std::vector<SharedPartition> shared_partitions(const Call& call, std::vector<Look>& looks) {
  const std::uint64_t block_tokens = call.layout.block_tokens;
  std::vector<SharedPartition> all;
  std::unordered_map<const void*, std::size_t> by_last_block;
  for (std::size_t i = 0; i < looks.size(); ++i) {
    Look& look = looks[i];
    const void* last = blocks_of(look.partition, block_tokens).back();
    const auto [found, is_new] = by_last_block.try_emplace(last, all.size());
    const bool shared =
        !is_new && same_memory(looks[all[found->second].looks.front()].partition, look.partition, block_tokens);
    look.shared = shared ? found->second : all.size();
    if (!shared) all.emplace_back();
    SharedPartition& partition = all[look.shared];
    partition.looks.push_back(i);
    look.first = partition.queries;
    partition.queries += look.sequence->row_count * call.group;
  }
  return all;
}

// The partials of every query that looks at a partition, of one KV head, tile by tile.
void partials_of(const Call& call, std::span<const Look> looks, const SharedPartition& shared, std::uint64_t kv_head,
                 TileSpace& space, Partial* partials, float* values) {
  auto next = shared.looks.begin();
  std::uint64_t taken = 0;  // of the queries of *next
  for (std::size_t done = 0; done < shared.queries;) {
    AttentionTile tile = empty_tile(call, kv_head, looks[shared.looks.front()].partition);
    while (tile.queries < kTileQueries && next != shared.looks.end()) {
      const Look& look = looks[*next];
      const std::uint64_t all = look.sequence->row_count * call.group;
      const std::uint64_t end = std::min<std::uint64_t>(all, taken + kTileQueries - tile.queries);
      add_queries(call, *look.sequence, taken, end, look.partition, tile);
      taken = end;
      if (taken == all) ++next, taken = 0;
    }
    if (sees_something(tile)) {
      call.kernels->partial(tile, space.scores, partials + done, values + done * call.geometry.v_pad);
    } else {
      std::fill_n(partials + done, tile.queries, Partial());
    }
    done += tile.queries;
  }
}

// A sequence of the split path.
struct Split {
  const AttentionSequence* sequence;
  std::size_t first_look, n_looks;
  std::size_t first_query;  // queries of the sequences before it
};

void run_split(ThreadPool& pool, CpuStream& stream, const Call& call,
               std::span<const AttentionSequence* const> sequences, Partial* totals) {
  const std::size_t v_pad = call.geometry.v_pad, kv_heads = call.layout.n_kv_heads;
  std::vector<Look> looks;
  std::vector<Split> splits;
  std::size_t queries = 0;
  for (const AttentionSequence* sequence : sequences) {
    const std::size_t first = looks.size();
    for (const Partition& partition : partitions_of(*sequence)) looks.push_back({sequence, partition});
    splits.push_back({sequence, first, looks.size() - first, queries});
    queries += sequence->row_count * call.params.n_heads;
  }
  std::vector<SharedPartition> shared = shared_partitions(call, looks);
  std::size_t slots = 0;
  for (SharedPartition& partition : shared) {
    partition.at = slots;
    slots += partition.queries * kv_heads;
  }
  float* values = stream.partials.get<float>(slots * (v_pad + sizeof(Partial) / sizeof(float)) + kKvPad);
  Partial* partials = reinterpret_cast<Partial*>(values + slots * v_pad);
  pool.parallel_for(shared.size() * kv_heads, 1, [&](std::size_t task, std::size_t, int worker) {
    const SharedPartition& partition = shared[task / kv_heads];
    const std::size_t kv_head = task % kv_heads, at = partition.at + kv_head * partition.queries;
    TileSpace space(stream.worker[static_cast<std::size_t>(worker)], call.geometry);
    partials_of(call, looks, partition, kv_head, space, partials + at, values + at * v_pad);
  });
  pool.parallel_for(
      queries, std::max<std::size_t>(1, queries / 8), [&](std::size_t first, std::size_t last, int worker) {
        float* merged_values = stream.worker[static_cast<std::size_t>(worker)].get<float>(v_pad);
        for (std::size_t i = first; i < last; ++i) {
          const Split& split = *std::prev(std::upper_bound(
              splits.begin(), splits.end(), i, [](std::size_t t, const Split& s) { return t < s.first_query; }));
          const std::uint64_t row = (i - split.first_query) / call.params.n_heads,
                              head = (i - split.first_query) % call.params.n_heads;
          Partial merged;
          for (const Look& look : std::span(looks).subspan(split.first_look, split.n_looks)) {
            const SharedPartition& partition = shared[look.shared];
            const std::size_t at = partition.at + head / call.group * partition.queries + look.first +
                                   row * call.group + head % call.group;
            merge_partial(merged, merged_values, partials[at], values + at * v_pad, call.layout.v_dim);
          }
          const Partial total = finish_partial(merged, merged_values, call.output(*split.sequence, row, head),
                                               call.layout.v_dim, call.sink(head));
          if (totals) totals[i] = total;
        }
      });
}

void run_scalar(ThreadPool& pool, const Call& call, const AttentionSequence& sequence) {
  std::uint64_t slots = 0;
  for (const KvRun& run : sequence.runs) slots += run.far ? 0 : run.end - run.begin;
  const std::uint64_t rows_of_mass = sequence.mass_stride > 0 ? call.params.n_heads : 1;
  std::vector<double> mass(sequence.mass ? rows_of_mass * slots : 0);
  const auto head_of = [&](std::uint64_t row, std::uint64_t head) {
    const float* far = call.params.far_q.data != nullptr ? call.query(sequence, true, row, head) : nullptr;
    reference_attention_head(call.layout, call.params, sequence, row, head, call.query(sequence, false, row, head), far,
                             call.output(sequence, row, head),
                             sequence.mass ? mass.data() + head % rows_of_mass * slots : nullptr);
  };
  if (!sequence.mass) {
    pool.parallel_for(sequence.row_count * call.params.n_heads, 1, [&](std::size_t task, std::size_t, int) {
      head_of(task / call.params.n_heads, task % call.params.n_heads);
    });
    return;
  }
  for (std::uint64_t row = 0; row < sequence.row_count; ++row) {
    for (std::uint64_t head = 0; head < call.params.n_heads; ++head) head_of(row, head);
  }
  for (std::uint64_t h = 0; h < rows_of_mass; ++h) {
    for (std::uint64_t i = 0; i < slots; ++i)
      sequence.mass[h * sequence.mass_stride + i] += static_cast<float>(mass[h * slots + i]);
  }
}

}  // namespace

void run_kv_append(ThreadPool& pool, const KernelSet& kernels, const KvLayout& layout, std::span<void* const> blocks,
                   std::uint64_t first_slot, const DeviceTensor& k, const DeviceTensor& v) {
  const KvGeometry geometry(layout);
  const std::size_t heads = layout.n_kv_heads;
  // A task is one head's share of some tokens: neighbours in the transposed keys are written by one thread.
  const std::size_t tokens = 32, chunks = (k.rows + tokens - 1) / tokens;
  pool.parallel_for(chunks * heads, k.rows < tokens ? heads : 1, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t task = begin; task < end; ++task) {
      const std::size_t head = task % heads, first = task / heads * tokens;
      for (std::size_t row = first; row < std::min<std::size_t>(k.rows, first + tokens); ++row) {
        void* block = blocks[(first_slot + row) / layout.block_tokens];
        const std::uint64_t slot = (first_slot + row) % layout.block_tokens;
        const float* key = static_cast<const float*>(k.data) + row * k.stride + head * layout.k_dim;
        const float* value = static_cast<const float*>(v.data) + row * v.stride + head * layout.v_dim;
        if (kernels.attention) {
          kernels.attention->store(layout, geometry, block, slot, head, key, value);
        } else {
          reference_store_key(layout, block, slot, head, key);
          reference_store_value(layout, block, slot, head, value);
        }
      }
    }
  });
}

void run_kv_keys(const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
                 const DeviceTensor& out) {
  for (std::uint64_t row = 0; row < out.rows; ++row) {
    const std::uint64_t slot = first_slot + row;
    float* keys = static_cast<float*>(out.data) + row * out.stride;
    for (std::uint64_t i = 0; i < std::uint64_t{layout.n_kv_heads} * layout.k_dim; ++i) {
      keys[i] = reference_key(layout, blocks[slot / layout.block_tokens], slot % layout.block_tokens, i / layout.k_dim,
                              i % layout.k_dim);
    }
  }
}

void run_attention(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, const KvLayout& layout,
                   const AttentionParams& params, const DeviceTensor& out, const DeviceTensor& q,
                   std::span<const AttentionSequence> sequences) {
  const Call call{kernels.attention, layout, KvGeometry(layout), params, out, q, params.n_heads / layout.n_kv_heads};
  std::vector<const AttentionSequence*> splits;
  for (const AttentionSequence& sequence : sequences) {
    if (!call.kernels) {
      run_scalar(pool, call, sequence);
      continue;
    }
    const std::uint64_t queries = sequence.row_count * call.group;
    const std::uint64_t tiles = (queries + kTileQueries - 1) / kTileQueries * layout.n_kv_heads;
    const bool split = queries <= kTileQueries || tiles < 2 * static_cast<std::uint64_t>(pool.size());
    if (split && !sequence.mass) {
      splits.push_back(&sequence);
      continue;
    }
    const std::vector<Partition> partitions = partitions_of(sequence);
    std::vector<Partial> totals(sequence.mass ? sequence.row_count * params.n_heads : 0);
    if (split) {
      const AttentionSequence* alone = &sequence;
      run_split(pool, stream, call, {&alone, 1}, totals.data());
    } else {
      run_sequence_by_tiles(pool, stream, call, sequence, partitions, sequence.mass ? totals.data() : nullptr);
    }
    if (sequence.mass) {
      pool.parallel_for(partitions.size(), 1, [&](std::size_t task, std::size_t, int worker) {
        if (partitions[task].run->far) return;
        TileSpace space(stream.worker[static_cast<std::size_t>(worker)], call.geometry);
        add_mass(call, sequence, partitions[task], totals.data(), space);
      });
    }
  }
  if (!splits.empty()) run_split(pool, stream, call, splits, nullptr);
}

}  // namespace lathe::kernels::cpu
