// Many rows of input times a tile (tile-inl.h): 256 columns at a time are unpacked into the first-level cache, then
// multiplied with every row.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/tile_cursor-inl.h"

#if defined(LATHE_KERNELS_CPU_TILE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_TILE_ROWS_INL_H_
#undef LATHE_KERNELS_CPU_TILE_ROWS_INL_H_
#else
#define LATHE_KERNELS_CPU_TILE_ROWS_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

inline constexpr std::size_t kStepColumns = 256;

// The scales of a run beside AMX's products.
template <class Codec>
struct FloatScales {
  VF group[kHalves<Codec>];
};

// Up to kStepColumns columns of a tile, unpacked.
template <class Codec, bool kAmx>
struct TileStep {
  static constexpr std::size_t kBlocks = kStepColumns / Codec::kFormat.block_columns,
                               kAllRuns = kStepColumns / kQ8Block;
  using GroupMinimum = decltype(run_minimum<Codec, 0>(std::declval<typename Codec::Head>()));
  alignas(64) VI words[kAllRuns * kRunWords];
  std::conditional_t<kAmx, FloatScales<Codec>, RunScales<Codec> > scales[Codec::kGroup > 0 ? kAllRuns : 1];
  GroupMinimum group_minima[kAllRuns];
  VF scale[kBlocks], minimum[kBlocks];
};

// bytes: as far into the tile as the block is.
template <class Codec, bool kVnni, bool kAmx>
HWY_INLINE void unpack_block(const TileBlock& block, const std::byte* bytes, std::size_t index,
                             TileStep<Codec, kAmx>& step) {
  const typename Codec::Head head = Codec::head(block);
  step.scale[index] = Codec::scale(head);
  if constexpr (Codec::kMinima != Minima::kNone) step.minimum[index] = Codec::minimum(head);
  unrolled<kRuns<Codec> >([&](auto run) LATHE_INLINE_LAMBDA {
    constexpr int kRun = decltype(run)::value;
    const std::size_t at = index * kRuns<Codec> + kRun;
    VI* words = step.words + at * kRunWords;
    prefetch_weights<kTileBlockBytes<Codec>, kRun, kRuns<Codec> >(bytes);
    unpack_run<Codec, kRun, false>(block, head, words);
    if constexpr (kAmx && kShift<Codec> >= 0) {  // AMX takes signed weights, and nothing out of the sums
      const hn::Repartition<std::uint8_t, DI> d8;
      const auto zero = hn::Set(d8, static_cast<std::uint8_t>(1 << kShift<Codec>));
      for (int i = 0; i < kRunWords; ++i) words[i] = hn::BitCast(DI(), hn::Sub(hn::BitCast(d8, words[i]), zero));
    }
    if constexpr (Codec::kGroup > 0) {
      const RunScales<Codec> scales = run_scales<Codec, kVnni, kRun>(head);
      if constexpr (kAmx) {
        for (int half = 0; half < kHalves<Codec>; ++half) {
          step.scales[at].group[half] = hn::ConvertTo(DF(), scales.group[half]);
        }
      } else {
        step.scales[at] = scales;
      }
    }
    if constexpr (Codec::kMinima == Minima::kGroups) step.group_minima[at] = run_minimum<Codec, kRun>(head);
  });
}

// Where multiply_step takes the scaled dot products of a run with kRows rows from, and what these rows have for the
// run: the products are computed when asked for,
template <class Codec, bool kVnni, int kRows>
struct ComputedDots {
  const std::int8_t* columns[kRows];
  const Q8Meta* metas[kRows];

  HWY_INLINE const Q8Meta& meta(std::size_t run, int r) const { return metas[r][run]; }
  HWY_INLINE void run(const TileStep<Codec, false>& step, std::size_t run, VF* dots) const {
    const std::int8_t* x[kRows];
    const Q8Meta* meta[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = columns[r] + run * kQ8Block, meta[r] = metas[r] + run;
    VI scaled[kRows];
    dot_run<Codec, kVnni, kRows>(step.words + run * kRunWords, step.scales[Codec::kGroup > 0 ? run : 0], x, meta,
                                 scaled);
    for (int r = 0; r < kRows; ++r) dots[r] = hn::ConvertTo(DF(), scaled[r]);
  }
};
// or AMX has computed them before. Times their scales they stay below 2^24 (a run's: at most 32 * 127 * 127 * 32, with
// IQ4_XS), so that floats hold them exactly, whose products take half the time of integers'.
template <class Codec, int kRows>
struct AmxDots {
  const std::int32_t* sums;  // [run][half][16 rows][lane]
  const AmxMeta* metas;
  std::size_t row;  // the first of kRows

  HWY_INLINE Q8Meta meta(std::size_t run, int r) const { return metas[run].of(row + static_cast<std::size_t>(r)); }
  HWY_INLINE void run(const TileStep<Codec, true>& step, std::size_t run, VF* dots) const {
    for (int half = 0; half < kHalves<Codec>; ++half) {
      const std::int32_t* products =
          sums + ((run * kHalves<Codec> + static_cast<std::size_t>(half)) * kAmxRows + row) * kLanes;
      for (int r = 0; r < kRows; ++r) {
        const VF sum = hn::ConvertTo(DF(), hn::Load(DI(), products + static_cast<std::size_t>(r) * kLanes));
        if constexpr (Codec::kGroup == 0) {
          dots[r] = sum;
        } else {
          const VF scale = step.scales[run].group[half];
          dots[r] = half == 0 ? hn::Mul(sum, scale) : hn::MulAdd(sum, scale, dots[r]);
        }
      }
    }
  }
};

// Adds the products of `blocks` unpacked blocks with kRows rows to sums[row * kLanes].
template <class Codec, int kRows, bool kAmx, class Dots>
HWY_INLINE void multiply_step(const TileStep<Codec, kAmx>& step, std::size_t blocks, const Dots& products,
                              float* sums) {
  const DF d;
  VF sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = hn::Load(d, sums + static_cast<std::size_t>(r) * kLanes);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t first = block * kRuns<Codec>, last = first + kRuns<Codec>;
    if constexpr (Codec::kMinima != Minima::kNone) {
      VF minima[kRows];
      for (int r = 0; r < kRows; ++r) minima[r] = hn::Zero(d);
      for (std::size_t run = first; run < last; ++run) {
        for (int r = 0; r < kRows; ++r) {
          minima[r] = add_minimum<Codec>(minima[r], step.group_minima[run], products.meta(run, r));
        }
      }
      for (int r = 0; r < kRows; ++r) sum[r] = hn::NegMulAdd(step.minimum[block], minima[r], sum[r]);
    }
    VF partial[kRows];
    for (int r = 0; r < kRows; ++r) partial[r] = hn::Zero(d);
    for (std::size_t run = first; run < last; ++run) {
      VF dots[kRows];
      products.run(step, run, dots);
      for (int r = 0; r < kRows; ++r) {
        partial[r] = hn::MulAdd(dots[r], hn::Set(d, products.meta(run, r).scale), partial[r]);
      }
    }
    for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(partial[r], step.scale[block], sum[r]);
  }
  for (int r = 0; r < kRows; ++r) hn::Store(sum[r], d, sums + static_cast<std::size_t>(r) * kLanes);
}

// A step's products with rows of input, added to the sums of each.
template <class Codec, bool kVnni, bool kAmx>
struct StepRows {
  const TileStep<Codec, kAmx>& step;
  std::size_t blocks, in_features;
  float* sums;

  // x and meta: the first row's, from the step's first column on.
  HWY_INLINE void computed(const std::int8_t* x, const Q8Meta* meta, std::size_t rows) const {
    take(0, rows, [&](auto n, std::size_t row) LATHE_INLINE_LAMBDA {
      ComputedDots<Codec, kVnni, decltype(n)::value> dots;
      for (std::size_t i = 0; i < decltype(n)::value; ++i) {
        dots.columns[i] = x + (row + i) * in_features, dots.metas[i] = meta + (row + i) * (in_features / kQ8Block);
      }
      return dots;
    });
  }
#if HWY_TARGET == HWY_AVX3_DL
  // The same of what Q8Input has for AMX.
  HWY_INLINE void by_amx(const std::int8_t* x, const AmxMeta* meta, std::size_t rows) const {
    constexpr std::size_t kGroups = kHalves<Codec>, kWords = kRunWords / kGroups;
    alignas(64) std::int32_t products[TileStep<Codec, kAmx>::kAllRuns * kGroups * kAmxRows * kLanes];
    const auto words_of = [&](std::size_t group) LATHE_INLINE_LAMBDA { return step.words + group * kWords; };
    for (std::size_t first = 0; first < rows; first += kAmxRows) {
      const std::size_t last = std::min(rows, first + kAmxRows);
      const auto x_of = [&](std::size_t group) LATHE_INLINE_LAMBDA {
        return x + group / kGroups * kAmxRows * kQ8Block + group % kGroups * kWords * 4;
      };
      amx_dots(blocks * kRuns<Codec> * kGroups, last - first, words_of, x_of, products);
      take(first, last, [&](auto n, std::size_t row) LATHE_INLINE_LAMBDA {
        return AmxDots<Codec, decltype(n)::value>{products, meta, row - first};
      });
      x += kAmxRows * in_features, meta += in_features / kQ8Block;
    }
  }
#endif

 private:
  // Rows [row, last) with the dot products that dots_of(how many rows, the first of them) has.
  template <class DotsOf>
  HWY_INLINE void take(std::size_t row, std::size_t last, const DotsOf& dots_of) const {
    if constexpr (kAmx) {
      for (; row + 8 <= last; row += 8) take<8>(row, dots_of);
    }
    for (; row + 4 <= last; row += 4) take<4>(row, dots_of);
    for (; row < last; ++row) take<1>(row, dots_of);
  }
  template <int kRows, class DotsOf>
  HWY_INLINE void take(std::size_t row, const DotsOf& dots_of) const {
    multiply_step<Codec, kRows, kAmx>(step, blocks, dots_of(std::integral_constant<int, kRows>(), row),
                                      sums + row * kLanes);
  }
};

// Rows [first, last) with one tile.
template <class Codec, bool kVnni, bool kAmx>
void multiply_rows(const MatmulJob& job, const std::byte* tile, std::size_t first, std::size_t last, float* sums) {
  constexpr std::size_t kStepBlocks = TileStep<Codec, kAmx>::kBlocks;
  const std::size_t blocks = job.in_features / Codec::kFormat.block_columns;
  std::fill(sums, sums + (last - first) * kLanes, 0.0f);
  TileCursor<Codec> cursor(tile, blocks);
  TileStep<Codec, kAmx> step;
  for (std::size_t block = 0; block < blocks; block += kStepBlocks) {
    const std::size_t count = std::min(kStepBlocks, blocks - block), column = block * Codec::kFormat.block_columns;
    for (std::size_t i = 0; i < count; ++i, cursor.advance()) {
      unpack_block<Codec, kVnni, kAmx>(cursor.block, tile + (block + i) * kTileBlockBytes<Codec>, i, step);
    }
    const StepRows<Codec, kVnni, kAmx> rows{step, count, job.in_features, sums};
#if HWY_TARGET == HWY_AVX3_DL
    if constexpr (kAmx) {
      const AmxMeta* meta = job.q8.amx_meta + (first / kAmxRows * job.in_features + column) / kQ8Block;
      rows.by_amx(job.q8.amx + first * job.in_features + column * kAmxRows, meta, last - first);
      continue;
    }
#endif
    if constexpr (!kAmx) {
      const std::size_t at = first * job.in_features + column;
      rows.computed(job.q8.values + at, job.q8.meta + at / kQ8Block, last - first);
    }
  }
}

template <class Codec, bool kVnni, bool kAmx>
void multiply_many_rows(const MatmulJob& job, const std::byte* first_tile, std::size_t begin, std::size_t end,
                        Scratch& scratch) {
  const std::uint64_t tile_bytes = Codec::kFormat.tile_bytes(job.in_features);
  const std::size_t most = std::min(job.rows, rows_at_a_time<kAmx>(job.in_features));
  float* sums = scratch.get<float>(most * kLanes);
  for (std::size_t first = 0; first < job.rows; first += most) {
    const std::size_t last = std::min(job.rows, first + most);
    const std::byte* tile = first_tile;
    for (std::size_t feature = begin; feature < end; feature += kLanes, tile += tile_bytes) {
      multiply_rows<Codec, kVnni, kAmx>(job, tile, first, last, sums);
      for (std::size_t r = first; r < last; ++r) {
        store_outputs(job, r, feature, std::min(kLanes, end - feature), hn::Load(DF(), sums + (r - first) * kLanes));
      }
    }
  }
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
