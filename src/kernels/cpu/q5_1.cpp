// Q5_1 weights: a half-precision scale and minimum, a word of fifth bits, then nibbles as in Q4_0.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q5_1.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/fifth_bit-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q5_1 : ShiftedBlocks {
  static constexpr TileFormat kFormat{kLanes, 32, 24, 0, 0};
  static constexpr int kLargest = 31, kZeroShift = -1;
  static constexpr bool kSigned = false;

  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    five_bit_words(block, 1, out);
  }
};

#endif
LATHE_TILE_KERNEL(q5_1, Q5_1)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q5_1)
#endif
