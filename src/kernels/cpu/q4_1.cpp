// Q4_1 weights: a half-precision scale and minimum, then 16 bytes whose low nibbles are the first 16 columns and whose
// high nibbles the last.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q4_1.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q4_1 : ShiftedBlocks, NibbleWords {
  static constexpr TileFormat kFormat{kLanes, 32, 20, 0, 0};
  static constexpr int kLargest = 15, kZeroShift = -1;
  static constexpr bool kSigned = false;

  template <int kRun, bool kInPlace>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    nibble_words<kInPlace>(block, 1, out);
  }
};

#endif
LATHE_TILE_KERNEL(q4_1, Q4_1)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q4_1)
#endif
