// The 6-bit scales and minima of Q4_K and Q5_K.
#include "kernels/cpu/tile-inl.h"

#if defined(LATHE_KERNELS_CPU_K_SCALES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_K_SCALES_INL_H_
#undef LATHE_KERNELS_CPU_K_SCALES_INL_H_
#else
#define LATHE_KERNELS_CPU_K_SCALES_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// A block's first 16 bytes are two halves (scale of the scales, scale of the minima) and three words: 6 bits of scales
// 0..3, of minima 0..3, and the low nibbles of both for 4..7, whose upper 2 bits are the top bits of the first words.
// What both codecs share of a tile codec.
struct KScales {
  static constexpr int kGroup = 32, kZeroShift = -1;
  static constexpr bool kSigned = false;
  static constexpr Minima kMinima = Minima::kGroups;

  struct Head {
    ScaleAndMinimum block;
    VI scales[2], minima[2];  // a byte for each group
  };
  static HWY_INLINE Head head(const TileBlock& block) {
    const VI scales = block.word(1), minima = block.word(2), both = block.word(3);
    return {scale_and_minimum(block.word(0)),
            {bits_of<0>(scales, 0x3f3f3f3f), hn::Or(bits_of<0>(both, 0x0f0f0f0f), bits_of<2>(scales, 0x30303030))},
            {bits_of<0>(minima, 0x3f3f3f3f), hn::Or(bits_of<4>(both, 0x0f0f0f0f), bits_of<2>(minima, 0x30303030))}};
  }
  static HWY_INLINE VF scale(const Head& head) { return head.block.scale; }
  static HWY_INLINE VF minimum(const Head& head) { return head.block.minimum; }
  template <int kIndex, bool kWide>
  static HWY_INLINE VI group_scale(const Head& head) {
    return scale_of<kIndex % 4, kWide>(head.scales[kIndex / 4]);
  }
  template <int kRun>
  static HWY_INLINE VI group_minimum(const Head& head) {
    return byte_of<kRun % 4>(head.minima[kRun / 4]);
  }
};

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
