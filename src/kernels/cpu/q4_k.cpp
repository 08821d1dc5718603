// Q4_K weights: 8 groups of 32 nibbles, each with a 6-bit scale and a 6-bit minimum; 32 bytes hold a group in their low
// nibbles and the next in their high ones.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q4_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/k_scales-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q4_K : KScales {
  static constexpr TileFormat kFormat{kLanes, 256, 144, 0, 0};
  static constexpr int kLargest = 15;

  static constexpr int left(int run, int) { return run % 2 * 4; }
  template <int kRun, bool kInPlace>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    for (std::size_t i = 0; i < kRunWords; ++i)
      out[i] = field_of<kRun % 2 * 4, kInPlace>(block.word(4 + kRun / 2 * 8 + i), 0x0f0f0f0f);
  }
};

#endif
LATHE_TILE_KERNEL(q4_k, Q4_K)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q4_k)
#endif
