// Integer dot products of small unpacked weights with 8-bit activations, and what kernels of tiles and of packed
// integers share beside them. A run is 32 columns of every row of a tile: 8 words of 4.
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

#include "kernels/cpu/dot8-inl.h"
#include "kernels/cpu/matmul.h"

#if defined(LATHE_KERNELS_CPU_TILE_DOTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_TILE_DOTS_INL_H_
#undef LATHE_KERNELS_CPU_TILE_DOTS_INL_H_
#else
#define LATHE_KERNELS_CPU_TILE_DOTS_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

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

// How far apart blocks of a tile are, but for what a chunk begins with.
template <class Codec>
inline constexpr std::size_t kTileBlockBytes = Codec::kFormat.block_bytes* kLanes;

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

// Whether bytes are too large for the 16-bit sums of two words, so that every product of a word has to be widened by
// itself: with many rows it is faster to widen the weights and the activations to 16 bits before.
template <class Codec, bool kVnni>
inline constexpr bool kWidened = !kWideDots<kVnni> && 2 * 2 * 127 * Codec::kLargest > 32767;

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

// Input rows that are taken through all tiles of a task before the next ones: as many as a cache holds.
inline std::size_t rows_that_fit(std::size_t cache_bytes, std::size_t row_bytes, std::size_t multiple) {
  return std::max(multiple, cache_bytes / row_bytes / multiple * multiple);
}
// The second-level cache, which has 2 MB where there is AMX.
template <bool kAmx = false>
std::size_t rows_at_a_time(std::size_t in_features) {
  return rows_that_fit(kAmx ? 1 << 20 : 192 << 10, in_features + in_features / kQ8Block * sizeof(Q8Meta),
                       kAmx ? kAmxRows : 4);
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
