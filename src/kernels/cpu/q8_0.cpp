// Q8_0 weights: 32 signed bytes behind a half-precision scale.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q8_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q8_0 : ScaledBlocks {
  static constexpr TileFormat kFormat{kLanes, 32, 34, 0, 2};
  static constexpr int kLargest = 128, kZeroShift = -1;
  static constexpr bool kSigned = true;

  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    for (std::size_t i = 0; i < kRunWords; ++i) out[i] = encode_signed(block.word(i));
  }
};

#endif
LATHE_TILE_KERNEL(q8_0, Q8_0)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q8_0)
#endif
