// Q3_K weights: third bits in 32 bytes, bit pairs as in Q2_K, 16 signed 6-bit scales in 12 bytes, and a half-precision
// scale of those; a number means (number - 4).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q3_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q3_K {
  static constexpr TileFormat kFormat{kLanes, 256, 110, 108, 2};
  static constexpr int kGroup = 16, kLargest = 7, kZeroShift = 2;
  static constexpr bool kSigned = false;
  static constexpr Minima kMinima = Minima::kNone;

  struct Head {
    VF scale;
    VI numbers[4];  // a signed byte for each group
  };
  static HWY_INLINE Head head(const TileBlock& block) {
    // Low nibbles of scales 0..7, then of 8..15, in the first two words; the upper pairs of all 16 in the third.
    const VI a = block.word(24), b = block.word(25), upper = block.word(26);
    const hn::Repartition<std::int8_t, DI> d8;
    const auto centred = [&](VI number)
                             HWY_ATTR { return hn::BitCast(DI(), hn::Sub(hn::BitCast(d8, number), hn::Set(d8, 32))); };
    return {block.half(),
            {centred(hn::Or(bits_of<0>(a, 0x0f0f0f0f), hn::ShiftLeft<4>(bits_of<0>(upper, 0x03030303)))),
             centred(hn::Or(bits_of<0>(b, 0x0f0f0f0f), hn::ShiftLeft<4>(bits_of<2>(upper, 0x03030303)))),
             centred(hn::Or(bits_of<4>(a, 0x0f0f0f0f), bits_of<0>(upper, 0x30303030))),
             centred(hn::Or(bits_of<4>(b, 0x0f0f0f0f), bits_of<2>(upper, 0x30303030)))}};
  }
  static HWY_INLINE VF scale(const Head& head) { return head.scale; }
  template <int kIndex, bool kWide>
  static HWY_INLINE VI group_scale(const Head& head) {
    return signed_scale_of<kIndex % 4, kWide>(head.numbers[kIndex / 4]);
  }
  static constexpr int left(int run, int) { return run % 4 < 3 ? run % 4 * 2 : 0; }
  template <int kRun, bool kInPlace>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    constexpr int kPair = kRun % 4 * 2, kLeft = kInPlace ? left(kRun, 0) : 0;
    for (std::size_t i = 0; i < kRunWords; ++i) {
      const VI low = bits_of<kPair - kLeft>(block.word(8 + kRun / 4 * 8 + i), 0x03030303 << kLeft);
      out[i] = hn::Or(low, bits_of<kRun - 2 - kLeft>(block.word(i), 0x04040404 << kLeft));
    }
  }
};

#endif
LATHE_TILE_KERNEL(q3_k, Q3_K)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q3_k)
#endif
