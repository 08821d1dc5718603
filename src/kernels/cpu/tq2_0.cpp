// TQ2_0 weights: 64 bytes of bit pairs in the order of Q2_K, then a half-precision scale; a pair means (pair - 1).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tq2_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct TQ2_0 : ScaledBlocks {
  static constexpr TileFormat kFormat{kLanes, 256, 66, 64, 2};
  static constexpr int kLargest = 3, kZeroShift = 0;
  static constexpr bool kSigned = false;

  static constexpr int left(int run, int) { return run % 4 * 2; }
  template <int kRun, bool kInPlace>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    for (std::size_t i = 0; i < kRunWords; ++i)
      out[i] = field_of<kRun % 4 * 2, kInPlace>(block.word(kRun / 4 * 8 + i), 0x03030303);
  }
};

#endif
LATHE_TILE_KERNEL(tq2_0, TQ2_0)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(tq2_0)
#endif
