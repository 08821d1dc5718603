// Q6_K weights: 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed 8-bit scales for groups of 16, and a
// half-precision scale of those; a number means (number - 32). Each half of the block interleaves four runs of 32.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q6_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q6_K {
  static constexpr TileFormat kFormat{kLanes, 256, 210, 208, 2};
  static constexpr int kGroup = 16, kLargest = 63, kZeroShift = 5;
  static constexpr bool kSigned = false;
  static constexpr Minima kMinima = Minima::kNone;

  struct Head {
    VF scale;
    VI numbers[4];  // a signed byte for each group
  };
  static HWY_INLINE Head head(const TileBlock& block) {
    return {block.half(), {block.word(48), block.word(49), block.word(50), block.word(51)}};
  }
  static HWY_INLINE VF scale(const Head& head) { return head.scale; }
  template <int kIndex, bool kWide>
  static HWY_INLINE VI group_scale(const Head& head) {
    return signed_scale_of<kIndex % 4, kWide>(head.numbers[kIndex / 4]);
  }
  template <int kRun>
  static HWY_INLINE VI scale_pair(const Head& head) {
    return signed_pair_of<kRun % 2 * 2>(head.numbers[kRun / 2]);
  }
  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    constexpr int kHalf = kRun / 4, kQuarter = kRun % 4;
    for (std::size_t i = 0; i < kRunWords; ++i) {
      const VI low = bits_of<kQuarter / 2 * 4>(block.word(kHalf * 16 + kQuarter % 2 * 8 + i), 0x0f0f0f0f);
      out[i] = hn::Or(low, bits_of<kQuarter * 2 - 4>(block.word(32 + kHalf * 8 + i), 0x30303030));
    }
  }
};

#endif
LATHE_TILE_KERNEL(q6_k, Q6_K)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q6_k)
#endif
