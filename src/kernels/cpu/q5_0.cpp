// Q5_0 weights: a half-precision scale, a word of fifth bits, then nibbles as in Q4_0; a number means (number - 16).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q5_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/fifth_bit-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q5_0 : ScaledBlocks {
  static constexpr TileFormat kFormat{kLanes, 32, 22, 0, 2};
  static constexpr int kLargest = 31, kZeroShift = 4;
  static constexpr bool kSigned = false;

  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    five_bit_words(block, 0, out);
  }
};

#endif
LATHE_TILE_KERNEL(q5_0, Q5_0)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q5_0)
#endif
