// Unpacks the bit planes of bit_planes.h: 32 columns of every row of a tile as 8 words of 4.
#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/tile_dots-inl.h"

#if defined(LATHE_KERNELS_CPU_BIT_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_BIT_PLANES_INL_H_
#undef LATHE_KERNELS_CPU_BIT_PLANES_INL_H_
#else
#define LATHE_KERNELS_CPU_BIT_PLANES_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

inline constexpr int kChunkWords = static_cast<int>(kIntChunk) / 4;

// Rows of input that are multiplied together: more independent sums, the same weights.
inline constexpr int kBlockRows = HWY_MAX_BYTES == 64 ? 8 : 4;

// step(n, row), n a constant, for all of the rows [row, last): kRows at a time, and what is left by halves.
template <int kRows = kBlockRows, class Step>
HWY_INLINE void by_blocks_of_rows(std::size_t row, std::size_t last, const Step& step) {
  for (; row + kRows <= last; row += kRows) step(std::integral_constant<int, kRows>(), row);
  if constexpr (kRows > 1) by_blocks_of_rows<kRows / 2>(row, last, step);
}

// Adds the parts of the lowest kBits bits, whose words begin at p, to the 8 words of a chunk.
template <int kBits>
HWY_INLINE void unpack_parts(const std::byte* p, VI* words) {
  if constexpr (kBits > 0) {
    constexpr int kPart = first_part(kBits), kRest = kBits - kPart, kFields = 8 / kPart;
    const DI d;
    constexpr auto kMask = static_cast<std::int32_t>(0x01010101u * (((1u << kPart) - 1) << kRest));
    unpack_parts<kRest>(p + kPart * kLanes * 4, words);
    unrolled<kPart>([&](auto v) LATHE_INLINE_LAMBDA {
      const VI packed = hn::Load(d, reinterpret_cast<const std::int32_t*>(p) + v * kLanes);
      unrolled<kFields>([&](auto f) LATHE_INLINE_LAMBDA {
        constexpr int kWord = decltype(v)::value * kFields + decltype(f)::value;
        constexpr int kShift = decltype(f)::value * kPart - kRest;  // down to the field, up to its place
        const VI field = bits_of<kShift>(packed, kMask);
        words[kWord] = kRest == 0 ? field : hn::Or(words[kWord], field);
      });
    });
  }
}

// Whether a chunk is one part, whose fields can stay where they are.
template <int kBits>
inline constexpr bool kPureWidth = kBits == 1 || kBits == 2 || kBits == 4;

// How many bits the integers of a word stand too high in their bytes when a chunk is unpacked in place: words are moved
// by 4 bits or not at all, so that few sums have to be.
template <int kBits>
constexpr int word_left(int word) {
  const int shift = word % (8 / kBits) * kBits;
  return kPureWidth<kBits> ? (kBits == 4 ? shift : shift % 4) : 0;
}

template <int kBits, bool kInPlace = false>
HWY_INLINE void unpack_chunk(const std::byte* p, VI* words) {
  if constexpr (kInPlace) {
    constexpr std::uint32_t kMask = 0x01010101u * ((1u << kBits) - 1);
    unrolled<kChunkWords>([&](auto w) LATHE_INLINE_LAMBDA {
      constexpr int kWord = decltype(w)::value, kFields = 8 / kBits, kLeft = word_left<kBits>(kWord);
      const VI packed = hn::Load(DI(), reinterpret_cast<const std::int32_t*>(p) + kWord / kFields * kLanes);
      words[kWord] = bits_of<kWord % kFields * kBits - kLeft>(packed, static_cast<std::int32_t>(kMask << kLeft));
    });
    return;
  }
  unpack_parts<kBits>(p, words);
  if constexpr (kBits == 8) {  // 255 * 127 overflows sums of pairs: as signed weights
    for (int w = 0; w < kChunkWords; ++w) {
      words[w] = encode_signed(hn::Xor(words[w], hn::Set(DI(), static_cast<std::int32_t>(0x80808080u))));
    }
  }
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
