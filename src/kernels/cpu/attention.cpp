// Cuts an attention call into tasks. Many query rows (a prompt): a task is a tile of queries and walks the partitions
// it sees, merging as it goes. Few rows (decoding): a task is one partition for all queries of a KV head, whose keys
// and values are then read once, and a second loop merges. Both merge the same partials in the same order.
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
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

// Queries [begin, end) of a KV head, numbered row * group + head in the group, over one partition. False when none of
// them sees any of it.
bool make_tile(const Call& call, const AttentionSequence& sequence, std::uint64_t kv_head, std::uint64_t begin,
               std::uint64_t end, const Partition& partition, AttentionTile& tile) {
  tile.layout = &call.layout;
  tile.geometry = &call.geometry;
  tile.scale = call.params.scale;
  tile.softcap = call.params.softcap;
  tile.relative_span = call.params.relative_span;
  tile.kv_head = kv_head;
  tile.blocks = partition.run->blocks.data();
  tile.first = partition.first;
  tile.queries = end - begin;
  tile.lo = kPartition, tile.hi = 0;
  const std::int64_t slot_position = partition.run->first_position + static_cast<std::int64_t>(partition.first) -
                                     static_cast<std::int64_t>(partition.run->begin);
  for (std::uint64_t i = begin; i < end; ++i) {
    const std::uint64_t row = i / call.group, head = kv_head * call.group + i % call.group;
    const SlotRange seen = visible_slots(*partition.run, visible_positions(call.params, sequence, *partition.run, row));
    TileQuery& query = tile.query[i - begin];
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
  return tile.lo < tile.hi;
}

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
        AttentionTile tile;
        if (!make_tile(call, sequence, kv_head, begin, end, partition, tile)) continue;
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
      AttentionTile tile;
      if (!make_tile(call, sequence, kv_head, begin, end, partition, tile)) continue;
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

// A sequence's place in the work space of the split path.
struct Split {
  const AttentionSequence* sequence;
  std::vector<Partition> partitions;
  std::size_t first_task = 0;   // tasks: [partition][kv head]
  std::size_t first_query = 0;  // queries of all sequences so far
  Partial* partials = nullptr;  // [partition][kv head][query of the KV head]
  float* values = nullptr;      // the same, v_pad floats each
};

void run_split(ThreadPool& pool, CpuStream& stream, const Call& call, std::vector<Split>& splits, Partial* totals) {
  const std::size_t v_pad = call.geometry.v_pad, kv_heads = call.layout.n_kv_heads;
  std::size_t tasks = 0, slots = 0, queries = 0;
  for (Split& split : splits) {
    split.first_task = tasks, split.first_query = queries;
    tasks += split.partitions.size() * kv_heads;
    queries += split.sequence->row_count * call.params.n_heads;
    slots += split.partitions.size() * split.sequence->row_count * call.params.n_heads;
  }
  float* values = stream.partials.get<float>(slots * (v_pad + sizeof(Partial) / sizeof(float)) + kKvPad);
  Partial* partials = reinterpret_cast<Partial*>(values + slots * v_pad);
  for (Split& split : splits) {
    const std::size_t count = split.partitions.size() * split.sequence->row_count * call.params.n_heads;
    split.values = values, split.partials = partials;
    values += count * v_pad, partials += count;
  }
  pool.parallel_for(tasks, 1, [&](std::size_t task, std::size_t, int worker) {
    const Split& split = *std::prev(std::upper_bound(splits.begin(), splits.end(), task,
                                                     [](std::size_t t, const Split& s) { return t < s.first_task; }));
    const std::uint64_t per_head = split.sequence->row_count * call.group;
    const std::size_t kv_head = (task - split.first_task) % kv_heads;
    const std::size_t at = (task - split.first_task) * per_head;
    const Partition& partition = split.partitions[(task - split.first_task) / kv_heads];
    TileSpace space(stream.worker[static_cast<std::size_t>(worker)], call.geometry);
    for (std::uint64_t begin = 0; begin < per_head; begin += kTileQueries) {
      const std::uint64_t end = std::min<std::uint64_t>(begin + kTileQueries, per_head);
      AttentionTile tile;
      if (make_tile(call, *split.sequence, kv_head, begin, end, partition, tile)) {
        call.kernels->partial(tile, space.scores, split.partials + at + begin, split.values + (at + begin) * v_pad);
      } else {
        std::fill_n(split.partials + at + begin, end - begin, Partial());
      }
    }
  });
  pool.parallel_for(
      queries, std::max<std::size_t>(1, queries / 8), [&](std::size_t first, std::size_t last, int worker) {
        float* merged_values = stream.worker[static_cast<std::size_t>(worker)].get<float>(v_pad);
        for (std::size_t i = first; i < last; ++i) {
          const Split& split = *std::prev(std::upper_bound(
              splits.begin(), splits.end(), i, [](std::size_t t, const Split& s) { return t < s.first_query; }));
          const std::uint64_t row = (i - split.first_query) / call.params.n_heads,
                              head = (i - split.first_query) % call.params.n_heads;
          const std::uint64_t per_head = split.sequence->row_count * call.group;
          Partial merged;
          for (std::size_t p = 0; p < split.partitions.size(); ++p) {
            const std::size_t at = (p * kv_heads + head / call.group) * per_head + row * call.group + head % call.group;
            merge_partial(merged, merged_values, split.partials[at], split.values + at * v_pad, call.layout.v_dim);
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
  std::vector<Split> splits;
  for (const AttentionSequence& sequence : sequences) {
    if (!call.kernels) {
      run_scalar(pool, call, sequence);
      continue;
    }
    const std::uint64_t queries = sequence.row_count * call.group;
    const std::uint64_t tiles = (queries + kTileQueries - 1) / kTileQueries * layout.n_kv_heads;
    const bool split = queries <= kTileQueries || tiles < 2 * static_cast<std::uint64_t>(pool.size());
    std::vector<Partition> partitions = partitions_of(sequence);
    if (split && !sequence.mass) {
      splits.push_back({&sequence, std::move(partitions)});
      continue;
    }
    std::vector<Partial> totals(sequence.mass ? sequence.row_count * params.n_heads : 0);
    if (split) {
      std::vector<Split> alone;
      alone.push_back({&sequence, partitions});
      run_split(pool, stream, call, alone, totals.data());
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
