// Products of quantized weights with 8-bit activations, for any codec that can say its weights as small integers in
// groups of 16 or 32 columns. Weights come in tiles (tiles.h): one row per lane of a vector, so that the products of a
// lane never meet those of another and every instruction set computes the same bits.
//
// A block of weights is  d * s[group] * (q - zero) - m * t[group]  with floats d and m and small integers s and t. For
// each block of a row and its share of the input (scale xs and sum of each 32 columns), in this order:
//   minima  += t * xs * sum(x)     over the block's runs of 32 columns   (integer products with t where groups are of
//   16) sum     -= m * minima partial += xs * (s * integer dot product)                           over the block's runs
//   of 32 columns sum     += d * partial
// One row of input takes a path that keeps unpacked weights in registers; more rows unpack 256 columns at a time into
// the first-level cache. Both do the same operations in the same order for every pair (weight row, input row).
//
// A codec is a type with
//   kFormat                       its TileFormat
//   kGroup                        columns per integer scale, 16 or 32; 0: no integer scales (s = 1)
//   kLargest, kSigned             largest magnitude of a weight as stored in words (through encode_signed when signed)
//   kZeroShift                    weights mean (integer - 2^kZeroShift); -1: nothing to take out
//   kMinima                       one of Minima
//   Head head(block)              what its scales are made from
//   VF scale(head), minimum(head)                    d and m
//   VI group_scale<kIndex, kWide>(head)              s of a group, by scale_of() and its like
//   VI scale_pair<kRun>(head)                        s of both groups of 16, by pair_of(); only with kZeroShift > 4
//   VI group_minimum<kRun>(head)                     t of a run of 32 columns, as number or (kGroup == 16) as pair_of()
//   void words<kRun>(block, head, VI* out)           32 columns as 8 words of 4; or, with left(),
//   void words<kRun, kInPlace>(block, head, VI* out)
//   constexpr int left(run, word)                    bits that integers stand too high in their bytes when in place
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/dot8-inl.h"
#include "kernels/cpu/matmul.h"

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

enum class Minima { kNone, kBlock, kGroups };  // one m per block, or an integer t per group beside it

// One block of every row of a tile.
struct TileBlock {
  const std::int32_t* words;  // [word][lane]
  const std::byte* loose;     // [lane][loose_bytes]

  HWY_INLINE VI word(std::size_t i) const { return hn::Load(DI(), words + i * kLanes); }
  HWY_INLINE VF half() const {  // loose bytes that are half-precision numbers
    return hn::PromoteTo(DF(),
                         hn::Load(hn::Rebind<hwy::float16_t, DF>(), reinterpret_cast<const hwy::float16_t*>(loose)));
  }
};

// A half-precision number in the low 16 bits of each lane, as float.
HWY_INLINE VF float_from_half_bits(VI bits) {
  const hn::Rebind<std::uint16_t, DI> d16;
  const hn::Rebind<hwy::float16_t, DI> dh;
  const auto words = hn::BitCast(hn::Repartition<std::uint32_t, DI>(), hn::And(bits, hn::Set(DI(), 0xffff)));
  return hn::PromoteTo(DF(), hn::BitCast(dh, hn::DemoteTo(d16, hn::BitCast(DI(), words))));
}

// Two half-precision numbers in one word.
struct ScaleAndMinimum {
  VF scale, minimum;
};
HWY_INLINE ScaleAndMinimum scale_and_minimum(VI word) {
  return {float_from_half_bits(word), float_from_half_bits(hn::ShiftRight<16>(word))};
}

// What codecs share whose blocks have one half-precision scale, or one and a minimum that is added.
struct ScaledBlocks {
  static constexpr int kGroup = 0;
  static constexpr Minima kMinima = Minima::kNone;
  struct Head {
    VF scale;
  };
  static HWY_INLINE Head head(const TileBlock& block) { return {block.half()}; }
  static HWY_INLINE VF scale(const Head& head) { return head.scale; }
};
struct ShiftedBlocks {
  static constexpr int kGroup = 0;
  static constexpr Minima kMinima = Minima::kBlock;
  using Head = ScaleAndMinimum;
  static HWY_INLINE Head head(const TileBlock& block) { return scale_and_minimum(block.word(0)); }
  static HWY_INLINE VF scale(const Head& head) { return head.scale; }
  static HWY_INLINE VF minimum(const Head& head) { return hn::Neg(head.minimum); }
};

// 32 columns from 4 words of nibbles, the first 16 columns in the low ones.
template <bool kInPlace = false>
HWY_INLINE void nibble_words(const TileBlock& block, std::size_t first, VI* out) {
  for (std::size_t i = 0; i < 4; ++i) {
    const VI packed = block.word(first + i);
    out[i] = bits_of<0>(packed, 0x0f0f0f0f);
    out[i + 4] = field_of<4, kInPlace>(packed, 0x0f0f0f0f);
  }
}
struct NibbleWords {
  static constexpr int left(int, int word) { return word < 4 ? 0 : 4; }
};

// Calls body(std::integral_constant<int, 0>) .. kCount - 1: for loops whose indices have to be constants.
template <int kCount, class Body>
HWY_INLINE void unrolled(const Body& body) {
  if constexpr (kCount > 0) {
    unrolled<kCount - 1>(body);
    body(std::integral_constant<int, kCount - 1>());
  }
}

inline constexpr std::size_t kStepColumns = 256;
inline constexpr int kRunWords = kQ8Block / 4;

template <class Codec>
inline constexpr int kRuns = static_cast<int>(Codec::kFormat.block_columns / kQ8Block);  // of 32 columns in a block
template <class Codec>
inline constexpr int kHalves = Codec::kGroup == 16 ? 2 : 1;  // groups in a run
// What has to be taken out of a dot product: 2^this times the sum of the activations.
template <class Codec>
inline constexpr int kShift = Codec::kSigned ? (kSignedBiased ? 7 : -1) : Codec::kZeroShift;
// 16-bit sums hold 2^4 times the sums of activations beside their products, not more.
template <class Codec, bool kVnni>
inline constexpr bool kZeroByPairs = !kWideDots<kVnni> && kShift<Codec> > 4;

template <class Codec>
inline constexpr bool kHasLeft = requires {
  Codec::left(0, 0);
};
template <class Codec>
constexpr int left_of(int run, int word) {
  if constexpr (kHasLeft<Codec>) return Codec::left(run, word);
  return 0;
}

// Whether one of the words [first, last) of a run stands `left` bits too high.
template <class Codec>
constexpr bool any_left(int run, int first, int last, int left) {
  while (first < last && left_of<Codec>(run, first) != left) ++first;
  return first < last;
}

template <class Codec, int kRun, bool kInPlace>
HWY_INLINE void unpack_run(const TileBlock& block, const typename Codec::Head& head, VI* words) {
  if constexpr (kHasLeft<Codec>) {
    Codec::template words<kRun, kInPlace>(block, head, words);
  } else {
    Codec::template words<kRun>(block, head, words);
  }
}

// The scales of a run.
template <class Codec>
struct RunScales {
  VI group[kHalves<Codec>];
  VI pair;
};

// A dot product of a group's columns times the group's scale.
template <class Codec>
HWY_INLINE VI scaled_dot(VI dot, VI scale) {
  constexpr int kMost = Codec::kGroup * 127 * (Codec::kLargest + (1 << std::max(0, Codec::kZeroShift)));
  if constexpr (kMost < 32768 && !Codec::kSigned) {
    return madd(dot, hn::And(scale, hn::Set(DI(), 0xffff)));  // of the lower halves: one instruction instead of two
  } else {
    return hn::Mul(dot, scale);
  }
}

// dots[r] = the scaled integer dot products of a run (8 words) with kRows rows of the input.
template <class Codec, bool kVnni, int kRows>
HWY_INLINE void dot_run(const VI* words, const RunScales<Codec>& scales, const std::int8_t* const* x,
                        const Q8Meta* const* meta, VI* dots) {
  const DI di;
  constexpr int kWords = kRunWords / kHalves<Codec>;
  if constexpr (kWideDots<kVnni>) {
    for (int half = 0; half < kHalves<Codec>; ++half) {
      VI sum[kRows];
      for (int r = 0; r < kRows; ++r) {
        if constexpr (kShift<Codec> < 0) {
          sum[r] = hn::Zero(di);
        } else if constexpr (kHalves<Codec> == 1) {
          sum[r] = hn::ShiftLeft<kShift<Codec> >(hn::Set(di, meta[r]->negated_sum));
        } else {
          sum[r] = hn::Set(di, meta[r]->negated[half] * (1 << kShift<Codec>));
        }
      }
      for (int i = half * kWords; i < (half + 1) * kWords; ++i) {
        for (int r = 0; r < kRows; ++r) sum[r] = dot4<Codec::kSigned>(sum[r], words[i], x[r] + 4 * i);
      }
      for (int r = 0; r < kRows; ++r) {
        if constexpr (Codec::kGroup > 0) sum[r] = scaled_dot<Codec>(sum[r], scales.group[half]);
        dots[r] = half == 0 ? sum[r] : hn::Add(dots[r], sum[r]);
      }
    }
  } else {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    const hn::Repartition<std::int16_t, DI> d16;
    constexpr int kMost = 32767 / (2 * 127 * Codec::kLargest);  // words whose 16-bit sums cannot overflow together
    constexpr int kFit = kMost < kWords ? (kMost >= 4 ? 4 : kMost >= 2 ? 2 : 1) : kWords;
    static_assert(kMost >= 1);
    for (int first = 0; first < kRunWords; first += kFit) {
      VI sum[kRows];
      for (int i = first; i < first + kFit; ++i) {
        for (int r = 0; r < kRows; ++r) {
          const VI products = pairs<Codec::kSigned>(words[i], broadcast4(x[r] + 4 * i));
          sum[r] = i == first ? products : add16(sum[r], products);
        }
      }
      for (int r = 0; r < kRows; ++r) {
        if constexpr (kShift<Codec> >= 0 && !kZeroByPairs<Codec, kVnni>) {
          static_assert(kFit >= 4);
          // Minus the sums of 16 columns each; with 4 words, those 16 columns' own sum and nothing.
          VI zero = broadcast4(meta[r]->negated);
          if (kFit == 4) zero = first == 0 ? pick_bytes<0, 1, 4, 4>(zero) : pick_bytes<2, 3, 4, 4>(zero);
          constexpr int kBits = kShift<Codec> < 0 ? 0 : kShift<Codec>;
          sum[r] = add16(sum[r], hn::BitCast(di, hn::ShiftLeft<kBits>(hn::BitCast(d16, zero))));
        }
        const VI scaled = madd(sum[r], Codec::kGroup > 0 ? scales.group[first / kWords] : hn::Set(di, 0x00010001));
        dots[r] = first == 0 ? scaled : hn::Add(dots[r], scaled);
      }
    }
    if constexpr (kZeroByPairs<Codec, kVnni>) {
      for (int r = 0; r < kRows; ++r) {
        const VI zero = madd(scales.pair, broadcast4(meta[r]->negated));
        dots[r] = hn::Add(dots[r], hn::ShiftLeft<kShift<Codec> >(zero));
      }
    }
#endif
  }
}

// The same of words in place (unpack_run), for one row.
template <class Codec, bool kVnni, int kRun>
HWY_INLINE VI dot_in_place(const VI* words, const RunScales<Codec>& scales, const std::int8_t* x, const Q8Meta& meta) {
  constexpr int kWords = kRunWords / kHalves<Codec>;
  VI dots = hn::Zero(DI());
  unrolled<kHalves<Codec> >([&](auto h) LATHE_INLINE_LAMBDA {
    constexpr int kHalf = decltype(h)::value, kFirst = kHalf * kWords;
    VI sums[8];  // of the words that stand so many bits too high
    unrolled<kWords>([&](auto i) LATHE_INLINE_LAMBDA {
      constexpr int kWord = kFirst + decltype(i)::value, kLeft = left_of<Codec>(kRun, kWord);
      if constexpr (kWord == kFirst && kShift<Codec> >= 0) {
        const std::int32_t negated = kHalves<Codec> == 1 ? meta.negated_sum : meta.negated[kHalf];
        sums[kLeft] = hn::Set(DI(), negated * (1 << (kShift<Codec> + kLeft)));
      } else if constexpr (!any_left<Codec>(kRun, kFirst, kWord, kLeft)) {
        sums[kLeft] = hn::Zero(DI());
      }
      sums[kLeft] = dot4<Codec::kSigned>(sums[kLeft], words[kWord], x + 4 * kWord);
    });
    VI sum = hn::Zero(DI());
    unrolled<8>([&](auto l) LATHE_INLINE_LAMBDA {
      constexpr int kLeft = decltype(l)::value;
      if constexpr (any_left<Codec>(kRun, kFirst, kFirst + kWords, kLeft)) {
        sum = hn::Add(sum, kLeft == 0 ? sums[0] : hn::ShiftRight<kLeft>(sums[kLeft]));
      }
    });
    if constexpr (Codec::kGroup > 0) sum = scaled_dot<Codec>(sum, scales.group[kHalf]);
    dots = hn::Add(dots, sum);
  });
  return dots;
}

// A run's share of a block's minima. minimum: t as the codec gives it, as a float already where groups are of 32.
template <class Codec, class T>
HWY_INLINE VF add_minimum(VF minima, T minimum, const Q8Meta& meta) {
  const DF d;
  if constexpr (Codec::kMinima == Minima::kBlock) {
    return hn::Set(d, meta.scaled_sum);
  } else if constexpr (Codec::kGroup == 32) {
    return hn::MulAdd(minimum, hn::Set(d, meta.scaled_sum), minima);
  } else {
    const VI negated = madd(minimum, broadcast4(meta.negated));
    return hn::NegMulAdd(hn::ConvertTo(d, negated), hn::Set(d, meta.scale), minima);
  }
}

// t of a run as add_minimum wants it.
template <class Codec, int kRun>
HWY_INLINE auto run_minimum(const typename Codec::Head& head) {
  if constexpr (Codec::kMinima != Minima::kGroups) {
    return 0;
  } else if constexpr (Codec::kGroup == 32) {
    return hn::ConvertTo(DF(), Codec::template group_minimum<kRun>(head));
  } else {
    return Codec::template group_minimum<kRun>(head);
  }
}

template <class Codec, bool kVnni, int kRun>
HWY_INLINE RunScales<Codec> run_scales(const typename Codec::Head& head) {
  RunScales<Codec> scales;
  if constexpr (Codec::kGroup == 32) {
    scales.group[0] = Codec::template group_scale<kRun, kWideDots<kVnni> >(head);
  } else if constexpr (Codec::kGroup == 16) {
    scales.group[0] = Codec::template group_scale<2 * kRun, kWideDots<kVnni> >(head);
    scales.group[1] = Codec::template group_scale<2 * kRun + 1, kWideDots<kVnni> >(head);
    if constexpr (kZeroByPairs<Codec, kVnni>) scales.pair = Codec::template scale_pair<kRun>(head);
  }
  return scales;
}

// --- one row of input ---

template <class Codec>
inline constexpr std::size_t kTileBlockBytes = Codec::kFormat.block_bytes* kLanes;

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

// --- many rows of input ---

// Up to kStepColumns columns of a tile, unpacked.
template <class Codec>
struct TileStep {
  static constexpr std::size_t kBlocks = kStepColumns / Codec::kFormat.block_columns,
                               kAllRuns = kStepColumns / kQ8Block;
  using GroupMinimum = decltype(run_minimum<Codec, 0>(std::declval<typename Codec::Head>()));
  alignas(64) VI words[kAllRuns * kRunWords];
  RunScales<Codec> scales[Codec::kGroup > 0 ? kAllRuns : 1];
  GroupMinimum group_minima[kAllRuns];
  VF scale[kBlocks], minimum[kBlocks];
};

template <class Codec, bool kVnni, bool kAmx>
HWY_INLINE void unpack_block(const TileBlock& block, std::size_t index, TileStep<Codec>& step) {
  const typename Codec::Head head = Codec::head(block);
  step.scale[index] = Codec::scale(head);
  if constexpr (Codec::kMinima != Minima::kNone) step.minimum[index] = Codec::minimum(head);
  unrolled<kRuns<Codec> >([&](auto run) LATHE_INLINE_LAMBDA {
    constexpr int kRun = decltype(run)::value;
    const std::size_t at = index * kRuns<Codec> + kRun;
    VI* words = step.words + at * kRunWords;
    unpack_run<Codec, kRun, false>(block, head, words);
    if constexpr (kAmx && kShift<Codec> >= 0) {  // AMX takes signed weights, and nothing out of the sums
      const hn::Repartition<std::uint8_t, DI> d8;
      const auto zero = hn::Set(d8, static_cast<std::uint8_t>(1 << kShift<Codec>));
      for (int i = 0; i < kRunWords; ++i) words[i] = hn::BitCast(DI(), hn::Sub(hn::BitCast(d8, words[i]), zero));
    }
    if constexpr (Codec::kGroup > 0) step.scales[at] = run_scales<Codec, kVnni, kRun>(head);
    if constexpr (Codec::kMinima == Minima::kGroups) step.group_minima[at] = run_minimum<Codec, kRun>(head);
  });
}

// Where multiply_step takes the scaled dot products of run `run` with kRows rows from: it multiplies,
template <class Codec, bool kVnni, int kRows>
struct ComputedDots {
  const std::int8_t* columns[kRows];

  HWY_INLINE void run(const TileStep<Codec>& step, std::size_t run, const Q8Meta* const* meta, VI* dots) const {
    const std::int8_t* x[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = columns[r] + run * kQ8Block;
    dot_run<Codec, kVnni, kRows>(step.words + run * kRunWords, step.scales[Codec::kGroup > 0 ? run : 0], x, meta, dots);
  }
};
// or AMX has done so.
template <class Codec, int kRows>
struct AmxDots {
  const std::int32_t* sums;  // [run][half][16 rows][lane], from the first of kRows rows on

  HWY_INLINE void run(const TileStep<Codec>& step, std::size_t run, const Q8Meta* const*, VI* dots) const {
    const DI di;
    for (int half = 0; half < kHalves<Codec>; ++half) {
      const std::int32_t* products = sums + (run * kHalves<Codec> + static_cast<std::size_t>(half)) * 16 * kLanes;
      for (int r = 0; r < kRows; ++r) {
        VI sum = hn::Load(di, products + static_cast<std::size_t>(r) * kLanes);
        if constexpr (Codec::kGroup > 0) sum = scaled_dot<Codec>(sum, step.scales[run].group[half]);
        dots[r] = half == 0 ? sum : hn::Add(dots[r], sum);
      }
    }
  }
};

// Adds the products of `blocks` unpacked blocks with kRows rows to sums[row * kLanes].
template <class Codec, int kRows, class Dots>
HWY_INLINE void multiply_step(const TileStep<Codec>& step, std::size_t blocks, const Dots& products,
                              const Q8Meta* const* meta, float* sums) {
  const DF d;
  VF sum[kRows];
  const Q8Meta* columns_meta[kRows];
  for (int r = 0; r < kRows; ++r) {
    sum[r] = hn::Load(d, sums + static_cast<std::size_t>(r) * kLanes);
    columns_meta[r] = meta[r];
  }
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t first = block * kRuns<Codec>;
    if constexpr (Codec::kMinima != Minima::kNone) {
      VF minima[kRows];
      for (int r = 0; r < kRows; ++r) minima[r] = hn::Zero(d);
      for (std::size_t run = 0; run < kRuns<Codec>; ++run) {
        for (int r = 0; r < kRows; ++r) {
          minima[r] = add_minimum<Codec>(minima[r], step.group_minima[first + run], columns_meta[r][run]);
        }
      }
      for (int r = 0; r < kRows; ++r) sum[r] = hn::NegMulAdd(step.minimum[block], minima[r], sum[r]);
    }
    VF partial[kRows];
    for (int r = 0; r < kRows; ++r) partial[r] = hn::Zero(d);
    for (std::size_t run = first; run < first + kRuns<Codec>; ++run) {
      VI dots[kRows];
      products.run(step, run, columns_meta, dots);
      for (int r = 0; r < kRows; ++r) {
        partial[r] = hn::MulAdd(hn::ConvertTo(d, dots[r]), hn::Set(d, columns_meta[r]->scale), partial[r]);
        ++columns_meta[r];
      }
    }
    for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(partial[r], step.scale[block], sum[r]);
  }
  for (int r = 0; r < kRows; ++r) hn::Store(sum[r], d, sums + static_cast<std::size_t>(r) * kLanes);
}

// The first `valid` lanes of sums to out, with bias.
HWY_INLINE void store_outputs(const MatmulJob& job, std::size_t row, std::size_t feature, std::size_t valid, VF sum) {
  const DF d;
  const auto load = [&](const float* p)
                        LATHE_INLINE_LAMBDA { return valid == kLanes ? hn::LoadU(d, p) : load_tail(d, p, valid); };
  float* out = job.out + row * job.out_stride + feature;
  if (job.bias) sum = hn::Add(sum, load(job.bias + feature));
  if (job.accumulate) sum = hn::Add(load(out), sum);
  if (valid == kLanes) {
    hn::StoreU(sum, d, out);
  } else {
    store_tail(d, sum, out, valid);
  }
}

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

// A step's products with rows of input, of which x and meta are the first's, for as many as are left in `rows`.
template <class Codec, bool kVnni>
struct StepRows {
  const TileStep<Codec>& step;
  const MatmulJob& job;
  std::size_t blocks;
  const std::int8_t* x;
  const Q8Meta* meta;
  float* sums;

  // kRows of them with the dot products that dots_of(row, pointers to each row's values) has.
  template <int kRows, class DotsOf>
  HWY_INLINE void take(std::size_t row, const DotsOf& dots_of) const {
    const std::int8_t* values[kRows];
    const Q8Meta* metas[kRows];
    for (std::size_t i = 0; i < kRows; ++i) {
      values[i] = x + (row + i) * job.in_features, metas[i] = meta + (row + i) * (job.in_features / kQ8Block);
    }
    multiply_step<Codec, kRows>(step, blocks, dots_of(std::integral_constant<int, kRows>(), row, values), metas,
                                sums + row * kLanes);
  }
  template <class DotsOf>
  HWY_INLINE void all(std::size_t row, std::size_t rows, const DotsOf& dots_of) const {
    for (; row + 4 <= rows; row += 4) take<4>(row, dots_of);
    for (; row < rows; ++row) take<1>(row, dots_of);
  }
  HWY_INLINE void computed(std::size_t row, std::size_t rows) const {
    all(row, rows, [](auto n, std::size_t, const std::int8_t* const* values) LATHE_INLINE_LAMBDA {
      ComputedDots<Codec, kVnni, decltype(n)::value> dots;
      for (int i = 0; i < decltype(n)::value; ++i) dots.columns[i] = values[i];
      return dots;
    });
  }
#if HWY_TARGET == HWY_AVX3_DL
  // values: of the rows, as Q8Input has them for AMX, from the step's first column on.
  HWY_INLINE void by_amx(const std::int8_t* values, std::size_t rows) const {
    constexpr std::size_t kGroups = kHalves<Codec>, kWords = kRunWords / kGroups, kSums = kAmxRows * kLanes;
    alignas(64) std::int32_t products[TileStep<Codec>::kAllRuns * kGroups * kSums];
    const std::size_t groups = blocks * kRuns<Codec> * kGroups;
    for (std::size_t first = 0; first < rows; first += kAmxRows) {
      const std::size_t last = std::min(rows, first + kAmxRows);
      const std::int8_t* columns = values + first * job.in_features;
      const auto x_of = [&](std::size_t group) LATHE_INLINE_LAMBDA {
        return columns + group / kGroups * kAmxRows * kQ8Block + group % kGroups * kWords * 4;
      };
      const auto words_of = [&](std::size_t group) LATHE_INLINE_LAMBDA { return step.words + group * kWords; };
      std::size_t group = 0;
      if (last - first < kAmxRows) {
        for (; group < groups; ++group) amx_rest_dot(words_of(group), x_of(group), products + group * kSums);
      }
      for (; group + 2 <= groups; group += 2) {
        amx_two_dots(words_of(group), words_of(group + 1), x_of(group), x_of(group + 1), products + group * kSums,
                     products + (group + 1) * kSums);
      }
      if (group < groups) amx_dot(words_of(group), x_of(group), products + group * kSums);
      const auto products_of = [&](auto n, std::size_t row, const std::int8_t* const*) LATHE_INLINE_LAMBDA {
        return AmxDots<Codec, decltype(n)::value>{products + (row - first) * kLanes};
      };
      std::size_t row = first;
      for (; row + 8 <= last; row += 8) take<8>(row, products_of);
      all(row, last, products_of);
    }
  }
#endif
};

// Rows [first, last) with one tile.
template <class Codec, bool kVnni, bool kAmx>
void multiply_rows(const MatmulJob& job, const std::byte* tile, std::size_t first, std::size_t last, float* sums) {
  constexpr std::size_t kStepBlocks = TileStep<Codec>::kBlocks;
  const std::size_t blocks = job.in_features / Codec::kFormat.block_columns, runs = job.in_features / kQ8Block;
  std::fill(sums, sums + (last - first) * kLanes, 0.0f);
  TileCursor<Codec> cursor(tile, blocks);
  TileStep<Codec> step;
  for (std::size_t block = 0; block < blocks; block += kStepBlocks) {
    const std::size_t count = std::min(kStepBlocks, blocks - block);
    for (std::size_t i = 0; i < count; ++i, cursor.advance()) unpack_block<Codec, kVnni, kAmx>(cursor.block, i, step);
    const StepRows<Codec, kVnni> rows{step,
                                      job,
                                      count,
                                      job.q8.values + first * job.in_features + block * Codec::kFormat.block_columns,
                                      job.q8.meta + first * runs + block * kRuns<Codec>,
                                      sums};
#if HWY_TARGET == HWY_AVX3_DL
    if constexpr (kAmx) {
      rows.by_amx(job.q8.amx + first * job.in_features + block * Codec::kFormat.block_columns * kAmxRows, last - first);
      continue;
    }
#endif
    rows.computed(0, last - first);
  }
}

// Input rows that are taken through all tiles of a task before the next ones: as many as the second-level cache holds,
// which has 2 MB where there is AMX.
template <bool kAmx = false>
std::size_t rows_at_a_time(std::size_t in_features) {
  constexpr std::size_t kCacheBytes = kAmx ? 1 << 20 : 192 << 10, kMultiple = kAmx ? 16 : 4;
  const std::size_t rows = kCacheBytes / (in_features + in_features / kQ8Block * sizeof(Q8Meta));
  return std::max<std::size_t>(kMultiple, rows / kMultiple * kMultiple);
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
  multiply_many_rows<Codec, kVnni, false>(job, first_tile, begin, end, scratch);
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
