// The fifth bits of Q5_0 and Q5_1, which lie apart from the nibbles.
#include "kernels/cpu/tile-inl.h"

#if defined(LATHE_KERNELS_CPU_FIFTH_BIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_FIFTH_BIT_INL_H_
#undef LATHE_KERNELS_CPU_FIFTH_BIT_INL_H_
#else
#define LATHE_KERNELS_CPU_FIFTH_BIT_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// The fifth bits of 32 columns, one bit each in a word per row, moved to bit 4 of every column's byte: out[8].
HWY_INLINE void fifth_bits(VI bits, VI* out) {
  const hn::Repartition<std::uint8_t, DI> d8;
  const auto bytes = hn::BitCast(d8, bits);
  const auto sixteen = hn::Set(d8, 16);
  for (int i = 0; i < 4; ++i) {
    // Byte i of the word in all four bytes, then one bit of it in each.
    const VI within = hn::Set(DI(), 0x01010101 * i);
    const VI lane = hn::And(hn::Iota(DI(), 0), hn::Set(DI(), 3));
    const VI base = hn::Mul(lane, hn::Set(DI(), 0x04040404));
    const auto byte = hn::TableLookupBytes(bytes, hn::BitCast(d8, hn::Add(base, within)));
    const auto low = hn::BitCast(d8, hn::Set(DI(), 0x08040201));
    const auto high = hn::BitCast(d8, hn::Set(DI(), static_cast<std::int32_t>(0x80402010u)));
    out[2 * i] = hn::BitCast(DI(), hn::IfThenElseZero(hn::TestBit(byte, low), sixteen));
    out[2 * i + 1] = hn::BitCast(DI(), hn::IfThenElseZero(hn::TestBit(byte, high), sixteen));
  }
}

// A word of fifth bits and 4 words of nibbles behind it.
HWY_INLINE void five_bit_words(const TileBlock& block, std::size_t first, VI* words) {
  VI nibbles[kRunWords];
  nibble_words(block, first + 1, nibbles);
  fifth_bits(block.word(first), words);
  for (int i = 0; i < kRunWords; ++i) words[i] = hn::Or(words[i], nibbles[i]);
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
