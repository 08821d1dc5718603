// Q2_K weights: 16 groups of 16 with a 4-bit scale and a 4-bit minimum each, 64 bytes of bit pairs (each half of the
// block has four runs of 32 in the same 32 bytes), then the half-precision scales of scales and minima.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q2_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q2_K {
  static constexpr TileFormat kFormat{kLanes, 256, 84, 0, 0};
  static constexpr int kGroup = 16, kLargest = 3, kZeroShift = -1;
  static constexpr bool kSigned = false;
  static constexpr Minima kMinima = Minima::kGroups;

  struct Head {
    ScaleAndMinimum block;
    VI numbers[4];  // scales in the low nibbles, minima in the high ones
  };
  static HWY_INLINE Head head(const TileBlock& block) {
    return {scale_and_minimum(block.word(20)), {block.word(0), block.word(1), block.word(2), block.word(3)}};
  }
  static HWY_INLINE VF scale(const Head& head) { return head.block.scale; }
  static HWY_INLINE VF minimum(const Head& head) { return head.block.minimum; }
  template <int kIndex, bool kWide>
  static HWY_INLINE VI group_scale(const Head& head) {
    return scale_of<kIndex % 4, kWide>(bits_of<0>(head.numbers[kIndex / 4], 0x0f0f0f0f));
  }
  template <int kRun>
  static HWY_INLINE VI group_minimum(const Head& head) {
    return pair_of<kRun % 2 * 2>(bits_of<4>(head.numbers[kRun / 2], 0x0f0f0f0f));
  }
  static constexpr int left(int run, int) { return run % 4 * 2; }
  template <int kRun, bool kInPlace>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    for (std::size_t i = 0; i < kRunWords; ++i)
      out[i] = field_of<kRun % 4 * 2, kInPlace>(block.word(4 + kRun / 4 * 8 + i), 0x03030303);
  }
};

#endif
LATHE_TILE_KERNEL(q2_k, Q2_K)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q2_k)
#endif
