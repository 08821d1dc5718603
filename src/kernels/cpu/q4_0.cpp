// Q4_0 weights: a half-precision scale, then 16 bytes whose low nibbles are the first 16 columns and whose high nibbles
// the last; a nibble means (nibble - 8).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q4_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q4_0 : ScaledBlocks, NibbleWords {
  static constexpr TileFormat kFormat{kLanes, 32, 18, 0, 2};
  static constexpr int kLargest = 15, kZeroShift = 3;
  static constexpr bool kSigned = false;

  template <int kRun, bool kInPlace>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    nibble_words<kInPlace>(block, 0, out);
  }
};

#endif
LATHE_TILE_KERNEL(q4_0, Q4_0)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q4_0)
#endif
