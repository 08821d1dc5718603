// 8-bit dot products, the one place where kernels use intrinsics: VNNI's vpdpbusd (AVX-512 and AVX), AVX2's and
// AVX-512's vpmaddubsw, NEON's SDOT. Exact on every instruction set. Vectors hold one 32-bit word (4 columns) of a
// weight row per lane; the activations of those 4 columns are the same for all lanes.
//
// There are two kinds. Wide ones add 4 products to a 32-bit sum at once. The others ("pairs") make 16-bit sums of 2,
// which are added up while they fit and then widened by a second multiplication, in which a scale comes for nothing.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/math-inl.h"

#if defined(LATHE_KERNELS_CPU_DOT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_DOT8_INL_H_
#undef LATHE_KERNELS_CPU_DOT8_INL_H_
#else
#define LATHE_KERNELS_CPU_DOT8_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// Four bytes (four activations, or two 16-bit numbers), in every lane.
HWY_INLINE VI broadcast4(const void* x) {
  std::int32_t word;
  std::memcpy(&word, x, sizeof word);
  return hn::Set(DI(), word);
}

// Whether dot products are of the wide kind; kVnni: AVX2 with AVX-VNNI beside it.
template <bool kVnni>
inline constexpr bool kWideDots = HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON || kVnni;

// Whether bytes of any size will do as unsigned weights, so that a nibble need not be moved down from the upper half of
// a byte: its products are 16 times as large, and a sum of them is moved down instead.
template <bool kVnni>
inline constexpr bool kFullBytes = kWideDots<kVnni>&& HWY_TARGET != HWY_NEON;

// Signed weights are stored with the top bit flipped in every byte, and the dot product then is too large by 128 times
// the sum of the activations, where the instruction wants unsigned weights.
#if HWY_TARGET == HWY_AVX3_DL
inline constexpr bool kSignedBiased = true;
HWY_INLINE VI encode_signed(VI w) { return hn::Xor(w, hn::Set(DI(), static_cast<std::int32_t>(0x80808080u))); }
#else
inline constexpr bool kSignedBiased = false;
HWY_INLINE VI encode_signed(VI w) { return w; }
#endif

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
// A sum as it is made, or GCC sorts all products of a run before all sums, and spills them.
HWY_INLINE VI in_order(VI sum) {
  asm("" : "+v"(sum.raw));
  return sum;
}
#endif

// Assembly below because Highway's attributes name neither avx512vnni nor, for AVX2, avxvnni, so that compilers refuse
// the intrinsics; select.cpp has made sure that the machine has the instructions.
#if HWY_TARGET == HWY_AVX3_DL

template <bool kSigned>
HWY_INLINE VI dot4(VI sum, VI w, const std::int8_t* x) {
  using Word [[gnu::may_alias, gnu::aligned(1)]] = std::int32_t;
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "m"(*reinterpret_cast<const Word*>(x)));
  return sum;
}
HWY_INLINE VI madd(VI a, VI b) { return VI{_mm512_madd_epi16(a.raw, b.raw)}; }

#elif HWY_TARGET == HWY_AVX3

template <bool kSigned>
VI dot4(VI sum, VI w, const std::int8_t* x);  // never called: a name for code that is discarded here
template <bool kSigned>
HWY_INLINE VI pairs(VI w, VI x) {
  if constexpr (!kSigned) return VI{_mm512_maddubs_epi16(w.raw, x.raw)};
  const __m512i signs = _mm512_mask_sub_epi8(x.raw, _mm512_movepi8_mask(w.raw), _mm512_setzero_si512(), x.raw);
  return VI{_mm512_maddubs_epi16(_mm512_abs_epi8(w.raw), signs)};
}
HWY_INLINE VI add16(VI a, VI b) { return in_order(VI{_mm512_add_epi16(a.raw, b.raw)}); }
HWY_INLINE VI madd(VI a, VI b) { return VI{_mm512_madd_epi16(a.raw, b.raw)}; }

#elif HWY_TARGET == HWY_AVX2

template <bool kSigned>
HWY_INLINE VI pairs(VI w, VI x) {
  if constexpr (!kSigned) return VI{_mm256_maddubs_epi16(w.raw, x.raw)};
  return VI{_mm256_maddubs_epi16(_mm256_abs_epi8(w.raw), _mm256_sign_epi8(x.raw, w.raw))};
}
HWY_INLINE VI add16(VI a, VI b) { return in_order(VI{_mm256_add_epi16(a.raw, b.raw)}); }
HWY_INLINE VI madd(VI a, VI b) { return VI{_mm256_madd_epi16(a.raw, b.raw)}; }
template <bool kSigned>
HWY_INLINE VI dot4(VI sum, VI w, const std::int8_t* x) {
  const VI activations = broadcast4(x);
  const __m256i magnitude = kSigned ? _mm256_abs_epi8(w.raw) : w.raw;
  const __m256i signs = kSigned ? _mm256_sign_epi8(activations.raw, w.raw) : activations.raw;
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(magnitude), "x"(signs));
  return sum;
}

#elif HWY_TARGET == HWY_NEON

template <bool kSigned>  // unsigned weights are at most 127: as good as signed
HWY_INLINE VI dot4(VI sum, VI w, const std::int8_t* x) {
  const int8x16_t a = vreinterpretq_s8_s32(w.raw), b = vreinterpretq_s8_s32(broadcast4(x).raw);
#if defined(__ARM_FEATURE_DOTPROD)
  return VI{vdotq_s32(sum.raw, a, b)};
#else
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return VI{vaddq_s32(sum.raw, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))};
#endif
}
HWY_INLINE VI madd(VI a, VI b) {
  const int16x8_t x = vreinterpretq_s16_s32(a.raw), y = vreinterpretq_s16_s32(b.raw);
  return VI{vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_s16(vget_high_s16(x), vget_high_s16(y)))};
}

#endif

// Asks for the kBytes of weights that come some kB behind p, which is what memory has to be bringing when those at p
// are multiplied: hardware alone fetches less far ahead (docs/results/engine.md). For kCount parts of the bytes, one at
// a time, the part kPart: many requests at once keep the loads waiting.
template <std::size_t kBytes, std::size_t kPart = 0, std::size_t kCount = 1>
HWY_INLINE void prefetch_weights(const void* p) {
  constexpr std::size_t kAhead = 3072, kCacheLine = 64, kLines = (kBytes + kCacheLine - 1) / kCacheLine;
  for (std::size_t line = kLines * kPart / kCount; line < kLines * (kPart + 1) / kCount; ++line) {
    __builtin_prefetch(static_cast<const std::byte*>(p) + kAhead + line * kCacheLine, 0, 2);
  }
}

// --- bits and bytes of words ---

// Byte kByte of each lane as an unsigned number.
template <int kByte>
HWY_INLINE VI byte_of(VI words) {
  return hn::And(hn::ShiftRight<8 * kByte>(words), hn::Set(DI(), 0xff));
}

// The same nibble, pair of bits, or bit of every byte: (words >> kShift) & mask, or << -kShift.
template <int kShift>
HWY_INLINE VI bits_of(VI words, std::int32_t mask) {
  if constexpr (kShift > 0) {
    words = hn::ShiftRight<kShift>(words);
  } else if constexpr (kShift < 0) {
    words = hn::ShiftLeft<-kShift>(words);
  }
  return hn::And(words, hn::Set(DI(), mask));
}

// Bytes k0 .. k3 of each lane in this order; 4 stands for zero.
template <int k0, int k1, int k2, int k3>
HWY_INLINE VI pick_bytes(VI words) {
  alignas(16) static constexpr std::array<std::uint8_t, 16> kIndex = [] {
    constexpr int kPick[4] = {k0, k1, k2, k3};
    std::array<std::uint8_t, 16> index{};
    for (int i = 0; i < 16; ++i)
      index[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(kPick[i % 4] == 4 ? 0x80 : i / 4 * 4 + kPick[i % 4]);
    return index;
  }();
  const hn::Repartition<std::uint8_t, DI> d8;
  return hn::BitCast(DI(), hn::TableLookupBytesOr0(hn::BitCast(d8, words), hn::LoadDup128(d8, kIndex.data())));
}

// Where a field stands kLeft bits too high in its byte, its products are 2^kLeft times as large.
template <int kShift, bool kInPlace>
HWY_INLINE VI field_of(VI words, std::uint32_t mask) {
  constexpr int kLeft = kInPlace ? kShift : 0;
  return bits_of<kShift - kLeft>(words, static_cast<std::int32_t>(mask << kLeft));
}

// The low or the high byte of each 16-bit number as a signed one of 16 bits.
template <class V>
HWY_INLINE V high_bytes16(V words) {
  const hn::DFromV<V> d;
  return hn::BitCast(d, hn::ShiftRight<8>(hn::BitCast(hn::Repartition<std::int16_t, decltype(d)>(), words)));
}
template <class V>
HWY_INLINE V low_bytes16(V words) {
  const hn::DFromV<V> d;
  return high_bytes16(
      hn::BitCast(d, hn::ShiftLeft<8>(hn::BitCast(hn::Repartition<std::int16_t, decltype(d)>(), words))));
}

// Byte kByte of each lane as the scale of a dot product: a number for the wide kind, the same number in both 16-bit
// halves for pairs.
template <int kByte, bool kWide>
HWY_INLINE VI scale_of(VI words) {
  if constexpr (kWide) return pick_bytes<kByte, 4, 4, 4>(words);
  return pick_bytes<kByte, 4, kByte, 4>(words);
}
template <int kByte, bool kWide>
HWY_INLINE VI signed_scale_of(VI words) {
  if constexpr (kWide) return hn::ShiftRight<24>(pick_bytes<4, 4, 4, kByte>(words));
  return high_bytes16(pick_bytes<4, kByte, 4, kByte>(words));
}

// Bytes kByte and kByte + 1 of each lane as two 16-bit numbers.
template <int kByte>
HWY_INLINE VI pair_of(VI words) {
  return pick_bytes<kByte, 4, kByte + 1, 4>(words);
}
template <int kByte>
HWY_INLINE VI signed_pair_of(VI words) {
  return high_bytes16(pick_bytes<4, kByte, 4, kByte + 1>(words));
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
