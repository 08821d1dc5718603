// Products of quantized weights with 8-bit activations, for any codec that can say its weights as small integers in
// groups of 16 or 32 columns. Weights come in tiles (tiles.h): one row per lane of a vector, so that the products of a
// lane never meet those of another and every instruction set computes the same bits.
//
// A block of weights is  d * s[group] * (q - zero) - m * t[group]  with floats d and m and small integers s and t. For
// each block of a row and its share of the input (scale xs and sum of each 32 columns), in this order:
//   minima += t * xs * sum(x), over the block's runs of 32 columns (integer products with t where groups are of 16)
//   sum -= m * minima
//   partial += xs * (s * integer dot product), over the block's runs of 32 columns
//   sum += d * partial
// One row of input takes a path that keeps unpacked weights in registers; for more rows see tile_rows-inl.h and
// widened-inl.h. All do the same operations in the same order for every pair (weight row, input row). What a codec is:
// tile_dots-inl.h.
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/tile_rows-inl.h"
#include "kernels/cpu/widened-inl.h"

#if defined(LATHE_KERNELS_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_TILE_INL_H_
#undef LATHE_KERNELS_CPU_TILE_INL_H_
#else
#define LATHE_KERNELS_CPU_TILE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

// The reference multiplies for this target.
#undef LATHE_TILE_KERNEL
#define LATHE_TILE_KERNEL(name, Codec) \
  MatmulKernel name##_kernel(Extension) { return {}; }

#else

// sum + the products of a block with one row. bytes: as far into the tile as the block is.
template <class Codec, bool kVnni>
HWY_INLINE VF multiply_block(const TileBlock& block, const std::byte* bytes, const std::int8_t* x, const Q8Meta* meta,
                             VF sum) {
  const DF d;
  const typename Codec::Head head = Codec::head(block);
  if constexpr (Codec::kMinima != Minima::kNone) {
    VF minima = hn::Zero(d);
    unrolled<kRuns<Codec> >([&](auto run) LATHE_INLINE_LAMBDA {
      constexpr int kRun = decltype(run)::value;
      minima = add_minimum<Codec>(minima, run_minimum<Codec, kRun>(head), meta[kRun]);
    });
    sum = hn::NegMulAdd(Codec::minimum(head), minima, sum);
  }
  VF partial = hn::Zero(d);
  unrolled<kRuns<Codec> >([&](auto run) LATHE_INLINE_LAMBDA {
    constexpr int kRun = decltype(run)::value;
    VI words[kRunWords], dot;
    prefetch_weights<kTileBlockBytes<Codec>, kRun, kRuns<Codec> >(bytes);
    unpack_run<Codec, kRun, kFullBytes<kVnni> >(block, head, words);
    const RunScales<Codec> scales = run_scales<Codec, kVnni, kRun>(head);
    const std::int8_t* columns = x + kRun * kQ8Block;
    const Q8Meta* columns_meta = meta + kRun;
    if constexpr (kFullBytes<kVnni>) {
      dot = dot_in_place<Codec, kVnni, kRun>(words, scales, columns, *columns_meta);
    } else {
      dot_run<Codec, kVnni, 1>(words, scales, &columns, &columns_meta, &dot);
    }
    partial = hn::MulAdd(hn::ConvertTo(d, dot), hn::Set(d, columns_meta->scale), partial);
  });
  return hn::MulAdd(partial, Codec::scale(head), sum);
}

template <class Codec, bool kVnni>
void multiply_one_row(const MatmulJob& job, const std::byte* tile, std::size_t begin, std::size_t end) {
  const std::uint64_t tile_bytes = Codec::kFormat.tile_bytes(job.in_features);
  const std::size_t blocks = job.in_features / Codec::kFormat.block_columns;
  constexpr std::size_t kBlockBytes = kTileBlockBytes<Codec>;
  for (std::size_t feature = begin; feature < end; feature += kLanes, tile += tile_bytes) {
    TileCursor<Codec> cursor(tile, blocks);
    const std::int8_t* x = job.q8.values;
    const Q8Meta* meta = job.q8.meta;
    VF sum = hn::Zero(DF());
    for (std::size_t block = 0; block < blocks; ++block, cursor.advance()) {
      sum = multiply_block<Codec, kVnni>(cursor.block, tile + block * kBlockBytes, x, meta, sum);
      x += Codec::kFormat.block_columns;
      meta += kRuns<Codec>;
    }
    store_outputs(job, 0, feature, std::min(kLanes, end - feature), sum);
  }
}

template <class Codec, bool kVnni, bool kAmx>
void tile_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  static_assert(kStepColumns % Codec::kFormat.block_columns == 0);
  const std::byte* first_tile = job.blocks + begin / kLanes * Codec::kFormat.tile_bytes(job.in_features);
  if (job.rows == 1) return multiply_one_row<Codec, kVnni>(job, first_tile, begin, end);
#if HWY_TARGET == HWY_AVX3_DL
  if constexpr (kAmx) {
    if (job.q8.amx != nullptr) {
      const AmxShapes shapes(kRunWords / kHalves<Codec>, job.rows % kAmxRows);
      return multiply_many_rows<Codec, kVnni, true>(job, first_tile, begin, end, scratch);
    }
  }
#endif
  if constexpr (kWidened<Codec, kVnni>) {
    multiply_widened_rows<Codec>(job, first_tile, begin, end, scratch);
  } else {
    // A scale for every 16 columns costs AVX-VNNI a product of 32-bit numbers, and pairs nothing.
    constexpr bool kPairs = HWY_TARGET == HWY_AVX2 && Codec::kGroup == 16;
    multiply_many_rows<Codec, kVnni && !kPairs, false>(job, first_tile, begin, end, scratch);
  }
}

// The kernel of a codec, with the extension beside the target's instructions or without.
template <class Codec>
MatmulKernel tile_kernel(Extension extension) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (extension == Extension::kAvxVnni) return {tile_matmul<Codec, true, false>, Codec::kFormat};
  }
  if constexpr (HWY_TARGET == HWY_AVX3_DL) {
    if (extension == Extension::kAmx) return {tile_matmul<Codec, false, true>, Codec::kFormat};
  }
  return {tile_matmul<Codec, false, false>, Codec::kFormat};
}

#undef LATHE_TILE_KERNEL
#define LATHE_TILE_KERNEL(name, Codec) \
  MatmulKernel name##_kernel(Extension extension) { return tile_kernel<Codec>(extension); }

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

// Once per file, outside of the targets: name##_matmul(kernels) of codec_kernels.h.
#ifndef LATHE_TILE_DISPATCH
#define LATHE_TILE_DISPATCH(name)                                                      \
  namespace lathe::kernels::cpu {                                                      \
  HWY_EXPORT(name##_kernel);                                                           \
  MatmulKernel name##_matmul(const KernelSet& kernels) {                               \
    return HWY_DISPATCH_TABLE(name##_kernel)[kernels.target_index](kernels.extension); \
  }                                                                                    \
  }
#endif
