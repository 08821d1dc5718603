// MXFP4 weights (OCP Microscaling 1.0): the exponent of a power-of-two scale, then nibbles as in Q4_0 that are E2M1
// numbers. Twice those are integers; 16 more than that is not negative and costs less to multiply.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mxfp4.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/nonlinear4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct MXFP4 {
  static constexpr TileFormat kFormat{kLanes, 32, 17, 0, 1};
  static constexpr int kGroup = 0, kLargest = 28, kZeroShift = 4;
  static constexpr bool kSigned = false;
  static constexpr Minima kMinima = Minima::kNone;
  alignas(16) static constexpr std::uint8_t kDoubledAnd16[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                                                 16, 15, 14, 13, 12, 10, 8,  4};

  struct Head {
    VF scale;
  };
  static HWY_INLINE Head head(const TileBlock& block) {
    // 2^(e - 128), half of the scale; below 2^-126 a subnormal number.
    const hn::Rebind<std::uint8_t, DI> d8;
    const VI e = hn::PromoteTo(DI(), hn::LoadU(d8, reinterpret_cast<const std::uint8_t*>(block.loose)));
    const VI one = hn::Set(DI(), 1);
    const VI normal = hn::ShiftLeft<23>(hn::Sub(e, one)), subnormal = hn::ShiftLeft<21>(hn::Add(e, one));
    return {hn::BitCast(DF(), hn::IfThenElse(hn::Gt(e, one), normal, subnormal))};
  }
  static HWY_INLINE VF scale(const Head& head) { return head.scale; }
  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    nonlinear_words(block, 0, kDoubledAnd16, out);
  }
};

#endif
LATHE_TILE_KERNEL(mxfp4, MXFP4)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(mxfp4)
#endif
