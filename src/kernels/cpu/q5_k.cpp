// Q5_K weights: Q4_K with a fifth bit; 32 bytes hold the fifth bits, bit g of byte j for column j of group g.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q5_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/k_scales-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct Q5_K : KScales {
  static constexpr TileFormat kFormat{kLanes, 256, 176, 0, 0};
  static constexpr int kLargest = 31;

  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    for (std::size_t i = 0; i < kRunWords; ++i) {
      const VI low = bits_of<kRun % 2 * 4>(block.word(12 + kRun / 2 * 8 + i), 0x0f0f0f0f);
      out[i] = hn::Or(low, hn::ShiftLeft<4>(bits_of<kRun>(block.word(4 + i), 0x01010101)));
    }
  }
};

#endif
LATHE_TILE_KERNEL(q5_k, Q5_K)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(q5_k)
#endif
