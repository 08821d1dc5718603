// 8-bit dot products, the one place where kernels use intrinsics: VNNI's vpdpbusd (AVX-512 and AVX), AVX2's and
// AVX-512's vpmaddubsw, NEON's SDOT. Exact on every instruction set. Vectors hold one 32-bit word (4 columns) of a
// weight row per lane; the activations of those 4 columns are the same for all lanes.
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

// Four activations, in every lane.
HWY_INLINE VI broadcast4(const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, sizeof word);
  return hn::Set(DI(), word);
}

// Signed weights are stored with this bit flipped in every byte, and the dot product then is too large by 128 times the
// sum of the activations, where the instruction wants unsigned weights.
#if HWY_TARGET == HWY_AVX3_DL
inline constexpr bool kSignedBiased = true;
HWY_INLINE VI encode_signed(VI w) { return hn::Xor(w, hn::Set(DI(), static_cast<std::int32_t>(0x80808080u))); }
#else
inline constexpr bool kSignedBiased = false;
HWY_INLINE VI encode_signed(VI w) { return w; }
#endif

#if HWY_TARGET == HWY_AVX3_DL

// Written in assembly because Highway's attributes for this target name avxvnni but not avx512vnni, so that compilers
// refuse the intrinsic; the instruction itself is what the target was chosen for.
HWY_INLINE VI dot4(VI sum, VI w, const std::int8_t* x) {
  using Word [[gnu::may_alias, gnu::aligned(1)]] = std::int32_t;
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "m"(*reinterpret_cast<const Word*>(x)));
  return sum;
}
HWY_INLINE VI dot4_signed(VI sum, VI w, const std::int8_t* x) { return dot4(sum, w, x); }

#elif HWY_TARGET == HWY_AVX3

HWY_INLINE VI pairs(VI w, VI x) { return VI{_mm512_maddubs_epi16(w.raw, x.raw)}; }
HWY_INLINE VI pairs_signed(VI w, VI x) {
  const __m512i negated = _mm512_mask_sub_epi8(x.raw, _mm512_movepi8_mask(w.raw), _mm512_setzero_si512(), x.raw);
  return VI{_mm512_maddubs_epi16(_mm512_abs_epi8(w.raw), negated)};
}
HWY_INLINE VI add_pairs(VI a, VI b) { return VI{_mm512_add_epi16(a.raw, b.raw)}; }
HWY_INLINE VI widen(VI sum, VI pairs) {
  return VI{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(pairs.raw, _mm512_set1_epi16(1)))};
}

#elif HWY_TARGET == HWY_AVX2

HWY_INLINE VI pairs(VI w, VI x) { return VI{_mm256_maddubs_epi16(w.raw, x.raw)}; }
HWY_INLINE VI pairs_signed(VI w, VI x) {
  return VI{_mm256_maddubs_epi16(_mm256_abs_epi8(w.raw), _mm256_sign_epi8(x.raw, w.raw))};
}
// In assembly for the reason given above.
template <bool kSigned>
HWY_INLINE VI dot4_vnni(VI sum, VI w, VI x) {
  const __m256i magnitude = kSigned ? _mm256_abs_epi8(w.raw) : w.raw;
  const __m256i signs = kSigned ? _mm256_sign_epi8(x.raw, w.raw) : x.raw;
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(magnitude), "x"(signs));
  return sum;
}
HWY_INLINE VI add_pairs(VI a, VI b) { return VI{_mm256_add_epi16(a.raw, b.raw)}; }
HWY_INLINE VI widen(VI sum, VI pairs) {
  return VI{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(pairs.raw, _mm256_set1_epi16(1)))};
}

#elif HWY_TARGET == HWY_NEON

HWY_INLINE VI dot4_signed(VI sum, VI w, const std::int8_t* x) {
  const int8x16_t a = vreinterpretq_s8_s32(w.raw), b = vreinterpretq_s8_s32(broadcast4(x).raw);
#if defined(__ARM_FEATURE_DOTPROD)
  return VI{vdotq_s32(sum.raw, a, b)};
#else
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return VI{vaddq_s32(sum.raw, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))};
#endif
}
// Weights of at most 127 are as good as signed.
HWY_INLINE VI dot4(VI sum, VI w, const std::int8_t* x) { return dot4_signed(sum, w, x); }

#endif

// Dot products of 4 * kWords columns: w[kWords] words of each row with x[4 * kWords]. Unsigned weights of at most
// kLargest; kLargest == 128 stands for signed weights that went through encode_signed.
template <bool kVnni, int kLargest, int kWords>
HWY_INLINE VI dot_words(const VI* w, const std::int8_t* x) {
  VI sum = hn::Zero(DI());
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
  HWY_UNROLL(8)
  for (int i = 0; i < kWords; ++i) {
    sum = kLargest == 128 ? dot4_signed(sum, w[i], x + 4 * i) : dot4(sum, w[i], x + 4 * i);
  }
#else
#if HWY_TARGET == HWY_AVX2
  if constexpr (kVnni) {
    HWY_UNROLL(8)
    for (int i = 0; i < kWords; ++i) sum = dot4_vnni<kLargest == 128>(sum, w[i], broadcast4(x + 4 * i));
    return sum;
  }
#endif
  // Sums of pairs are 16 bits wide: this many fit before they have to be widened. 128 * 127 * 2 just fits, once.
  constexpr int kFit = 32767 / (2 * 127 * kLargest) < kWords ? 32767 / (2 * 127 * kLargest) : kWords;
  static_assert(kFit >= 1 && kWords % kFit == 0);
  HWY_UNROLL(8)
  for (int i = 0; i < kWords; i += kFit) {
    VI words = kLargest == 128 ? pairs_signed(w[i], broadcast4(x + 4 * i)) : pairs(w[i], broadcast4(x + 4 * i));
    for (int j = i + 1; j < i + kFit; ++j) words = add_pairs(words, pairs(w[j], broadcast4(x + 4 * j)));
    sum = widen(sum, words);
  }
#endif
  return sum;
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
