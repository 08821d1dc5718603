// IQ4_NL weights: a half-precision scale, then nibbles as in Q4_0 that index a table.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/iq4_nl.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/nonlinear4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct IQ4_NL : ScaledBlocks {
  static constexpr TileFormat kFormat{kLanes, 32, 18, 0, 2};
  static constexpr int kLargest = 128, kZeroShift = -1;
  static constexpr bool kSigned = true;

  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    nonlinear_words(block, 0, kIq4Values, out);
  }
};

#endif
LATHE_TILE_KERNEL(iq4_nl, IQ4_NL)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(iq4_nl)
#endif
