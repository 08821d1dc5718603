// The 16 values that a nibble of IQ4_NL and IQ4_XS stands for.
#include "kernels/cpu/tile-inl.h"

#if defined(LATHE_KERNELS_CPU_NONLINEAR4_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_NONLINEAR4_INL_H_
#undef LATHE_KERNELS_CPU_NONLINEAR4_INL_H_
#else
#define LATHE_KERNELS_CPU_NONLINEAR4_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// Four words of 32 nibbles, first 16 columns low, to eight words of signed values, encoded for dot_words<128>.
HWY_INLINE void nonlinear_words(const VI* packed, VI* words) {
  alignas(16) static constexpr std::int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                          1,    13,   25,  38,  53,  69,  89,  113};
  const hn::Repartition<std::int8_t, DI> d8;
  const auto table = hn::LoadDup128(d8, kValues);
  for (int i = 0; i < 4; ++i) {
    const auto value = [&](VI nibbles) HWY_ATTR {
      return encode_signed(hn::BitCast(DI(), hn::TableLookupBytes(table, hn::BitCast(d8, nibbles))));
    };
    words[i] = value(bits_of<0>(packed[i], 0x0f0f0f0f));
    words[i + 4] = value(bits_of<4>(packed[i], 0x0f0f0f0f));
  }
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
