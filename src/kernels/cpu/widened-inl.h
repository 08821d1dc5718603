// Many rows of input times tiles (tile-inl.h) of signed bytes, where there is no exact product of bytes for all of them
// (kWidened): 256 columns of two tiles at a time are widened to 16 bits in the first-level cache, as the input has been
// before, and multiplied with every row.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/tile_cursor-inl.h"

#if defined(LATHE_KERNELS_CPU_WIDENED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_WIDENED_INL_H_
#undef LATHE_KERNELS_CPU_WIDENED_INL_H_
#else
#define LATHE_KERNELS_CPU_WIDENED_INL_H_
#endif

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

inline constexpr std::size_t kWidenedColumns = 256, kWidenedRuns = kWidenedColumns / kQ8Block;

// Up to kWidenedColumns columns of kTiles tiles. A word of a run becomes two, of bytes 0 and 2, and of bytes 1 and 3,
// times the group's scale: at most 2^7 * 2^5, by IQ4_XS.
template <class Codec, int kTiles>
struct WidenedStep {
  VI words[kWidenedRuns][2 * kRunWords][kTiles];
  VF scale[kWidenedColumns / Codec::kFormat.block_columns][kTiles];

  // bytes: as far into the tile as the block is.
  HWY_INLINE void unpack_block(const TileBlock& block, const std::byte* bytes, std::size_t index, int tile) {
    static_assert(Codec::kSigned && Codec::kMinima == Minima::kNone && kHalves<Codec> == 1);
    const hn::Repartition<std::int16_t, DI> d16;
    const typename Codec::Head head = Codec::head(block);
    scale[index][tile] = Codec::scale(head);
    unrolled<kRuns<Codec> >([&](auto run) LATHE_INLINE_LAMBDA {
      constexpr int kRun = decltype(run)::value;
      prefetch_weights<kTileBlockBytes<Codec>, kRun, kRuns<Codec> >(bytes);
      VI narrow[kRunWords];
      unpack_run<Codec, kRun, false>(block, head, narrow);
      const RunScales<Codec> scales = run_scales<Codec, false, kRun>(head);
      auto* out = words[index * kRuns<Codec> + kRun];
      for (int i = 0; i < kRunWords; ++i) {
        VI even = low_bytes16(narrow[i]), odd = high_bytes16(narrow[i]);
        if constexpr (Codec::kGroup > 0) {
          const auto group_scale = hn::BitCast(d16, scales.group[0]);
          even = hn::BitCast(DI(), hn::Mul(hn::BitCast(d16, even), group_scale));
          odd = hn::BitCast(DI(), hn::Mul(hn::BitCast(d16, odd), group_scale));
        }
        out[2 * i][tile] = even, out[2 * i + 1][tile] = odd;
      }
    });
  }
};

// A step's columns of a row of input, in the order of the weights.
struct WidenedRow {
  std::int32_t pairs[kWidenedColumns / 2];  // of 16-bit numbers
  float scales[kWidenedRuns];
};

// Rows [first, last) of the input to out[step][row]: in their own order rows some kB apart would take each other's
// place in the cache near the core.
inline void widen_rows(const MatmulJob& job, std::size_t first, std::size_t last, WidenedRow* out) {
  const hn::CappedTag<std::int32_t, kRunWords> d;
  for (std::size_t column = 0; column < job.in_features; column += kWidenedColumns) {
    const std::size_t runs = std::min(kWidenedColumns, job.in_features - column) / kQ8Block;
    for (std::size_t r = first; r < last; ++r, ++out) {
      const std::int8_t* values = job.q8.values + r * job.in_features + column;
      const Q8Meta* meta = job.q8.meta + (r * job.in_features + column) / kQ8Block;
      for (std::size_t run = 0; run < runs; ++run) {
        const auto words =
            hn::BitCast(d, hn::LoadU(hn::Repartition<std::int8_t, decltype(d)>(), values + run * kQ8Block));
        hn::StoreInterleaved2(low_bytes16(words), high_bytes16(words), d, out->pairs + run * kQ8Block / 2);
        out->scales[run] = meta[run].scale;
      }
    }
  }
}

// Adds the products of `blocks` unpacked blocks with kRows rows to sums[row][tile][lane].
template <class Codec, int kTiles, int kRows>
HWY_INLINE void multiply_widened(const WidenedStep<Codec, kTiles>& step, std::size_t blocks, const WidenedRow* rows,
                                 float* sums) {
  const DF d;
  VF sum[kRows][kTiles];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTiles; ++t) sum[r][t] = hn::Load(d, sums + (r * kTiles + t) * kLanes);
  }
  for (std::size_t block = 0; block < blocks; ++block) {
    VF partial[kRows][kTiles];
    for (auto& row : partial) std::fill_n(row, kTiles, hn::Zero(d));
    for (std::size_t run = block * kRuns<Codec>; run < (block + 1) * kRuns<Codec>; ++run) {
      VI dots[kRows][kTiles];
      unrolled<2 * kRunWords>([&](auto i) LATHE_INLINE_LAMBDA {
        constexpr int kWord = decltype(i)::value;
        VI word[kTiles];
        for (int t = 0; t < kTiles; ++t) word[t] = in_order(step.words[run][kWord][t]);
        for (int r = 0; r < kRows; ++r) {
          const VI x = hn::Set(DI(), rows[r].pairs[run * (kQ8Block / 2) + kWord]);
          for (int t = 0; t < kTiles; ++t) {
            const VI products = madd(word[t], x);
            dots[r][t] = kWord == 0 ? products : in_order(hn::Add(dots[r][t], products));
          }
        }
      });
      for (int r = 0; r < kRows; ++r) {
        const VF scale = hn::Set(d, rows[r].scales[run]);
        for (int t = 0; t < kTiles; ++t) {
          partial[r][t] = hn::MulAdd(hn::ConvertTo(d, dots[r][t]), scale, partial[r][t]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < kTiles; ++t) sum[r][t] = hn::MulAdd(partial[r][t], step.scale[block][t], sum[r][t]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTiles; ++t) hn::Store(sum[r][t], d, sums + (r * kTiles + t) * kLanes);
  }
}

// `rows` rows of input with kTiles tiles, to sums[row][tile][lane].
template <class Codec, int kTiles>
void multiply_widened_tiles(const std::byte* tiles, std::size_t in_features, const WidenedRow* input, std::size_t rows,
                            float* sums) {
  constexpr std::size_t kStepBlocks = kWidenedColumns / Codec::kFormat.block_columns;
  const std::uint64_t tile_bytes = Codec::kFormat.tile_bytes(in_features);
  const std::size_t blocks = in_features / Codec::kFormat.block_columns;
  std::fill_n(sums, rows * kTiles * kLanes, 0.0f);
  TileCursor<Codec> cursors[] = {{tiles, blocks}, {tiles + (kTiles - 1) * tile_bytes, blocks}};  // first and last
  WidenedStep<Codec, kTiles> step;
  for (std::size_t block = 0; block < blocks; block += kStepBlocks, input += rows) {
    const std::size_t count = std::min(kStepBlocks, blocks - block);
    for (int t = 0; t < kTiles; ++t) {
      const std::byte* bytes = tiles + static_cast<std::size_t>(t) * tile_bytes + block * kTileBlockBytes<Codec>;
      for (std::size_t i = 0; i < count; ++i, cursors[t].advance(), bytes += kTileBlockBytes<Codec>) {
        step.unpack_block(cursors[t].block, bytes, i, t);
      }
    }
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4)
      multiply_widened<Codec, kTiles, 4>(step, count, input + r, sums + r * kTiles * kLanes);
    for (; r < rows; ++r) multiply_widened<Codec, kTiles, 1>(step, count, input + r, sums + r * kTiles * kLanes);
  }
}

// Output features [begin, end) of every row; tile: the first of them.
template <class Codec>
void multiply_widened_rows(const MatmulJob& job, const std::byte* tile, std::size_t begin, std::size_t end,
                           Scratch& scratch) {
  constexpr std::size_t kMostTiles = 2;
  const std::uint64_t tile_bytes = Codec::kFormat.tile_bytes(job.in_features);
  const std::size_t steps = (job.in_features + kWidenedColumns - 1) / kWidenedColumns;
  const std::size_t most = std::min(job.rows, rows_that_fit(384 << 10, steps * sizeof(WidenedRow), 4));
  const std::size_t sums_bytes = most * kMostTiles * kLanes * sizeof(float);
  std::byte* memory = scratch.get<std::byte>(sums_bytes + steps * most * sizeof(WidenedRow));
  const auto sums = reinterpret_cast<float*>(memory);
  const auto input = reinterpret_cast<WidenedRow*>(memory + sums_bytes);
  for (std::size_t first = 0; first < job.rows; first += most) {
    const std::size_t rows = std::min(job.rows - first, most);
    widen_rows(job, first, first + rows, input);
    const std::byte* next = tile;
    for (std::size_t feature = begin; feature < end;) {
      const std::size_t tiles = end - feature > kLanes ? kMostTiles : 1;
      if (tiles == 1) {
        multiply_widened_tiles<Codec, 1>(next, job.in_features, input, rows, sums);
      } else {
        multiply_widened_tiles<Codec, kMostTiles>(next, job.in_features, input, rows, sums);
      }
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t t = 0; t < tiles; ++t) {
          const std::size_t at = feature + t * kLanes;
          store_outputs(job, first + r, at, std::min(kLanes, end - at),
                        hn::Load(DF(), sums + (r * tiles + t) * kLanes));
        }
      }
      feature += tiles * kLanes, next += tiles * tile_bytes;
    }
  }
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
#endif  // per-target include guard
