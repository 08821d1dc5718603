// Nibbles that index a table of 16 values.
#include <type_traits>

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

// Of IQ4_NL and IQ4_XS.
alignas(16) inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                           1,    13,   25,  38,  53,  69,  89,  113};

// nibble_words, each nibble replaced by its value (16 of them, aligned); signed ones through encode_signed.
template <class T>
HWY_INLINE void nonlinear_words(const TileBlock& block, std::size_t first, const T* values, VI* words) {
  const hn::Repartition<T, DI> d8;
  const auto table = hn::LoadDup128(d8, values);
  nibble_words(block, first, words);
  for (int i = 0; i < kRunWords; ++i) {
    words[i] = hn::BitCast(DI(), hn::TableLookupBytes(table, hn::BitCast(d8, words[i])));
    if constexpr (std::is_signed_v<T>) words[i] = encode_signed(words[i]);
  }
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
