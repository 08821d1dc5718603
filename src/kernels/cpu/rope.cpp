// Rotary position embedding of one head (Su et al. 2021, equation 34).
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rope.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
const RopeKernels* rope_table() { return &kReferenceRope; }
#else

void rotate(float* head, const float* cosines, const float* sines, std::size_t n_freq, RopeLayout layout) {
  const DF d;
  std::size_t i = 0;
  for (; i + kLanes <= n_freq; i += kLanes) {
    const VF c = hn::LoadU(d, cosines + i), s = hn::LoadU(d, sines + i);
    VF x, y;
    if (layout == RopeLayout::kInterleaved) {
      hn::LoadInterleaved2(d, head + 2 * i, x, y);
    } else {
      x = hn::LoadU(d, head + i), y = hn::LoadU(d, head + i + n_freq);
    }
    const VF rotated_x = hn::NegMulAdd(y, s, hn::Mul(x, c));
    const VF rotated_y = hn::MulAdd(y, c, hn::Mul(x, s));
    if (layout == RopeLayout::kInterleaved) {
      hn::StoreInterleaved2(rotated_x, rotated_y, d, head + 2 * i);
    } else {
      hn::StoreU(rotated_x, d, head + i), hn::StoreU(rotated_y, d, head + i + n_freq);
    }
  }
  for (; i < n_freq; ++i) {
    float& a = layout == RopeLayout::kInterleaved ? head[2 * i] : head[i];
    float& b = layout == RopeLayout::kInterleaved ? head[2 * i + 1] : head[i + n_freq];
    const float x = a, y = b;
    a = x * cosines[i] - y * sines[i];
    b = x * sines[i] + y * cosines[i];
  }
}

const RopeKernels* rope_table() {
  static constexpr RopeKernels kTable{rotate};
  return &kTable;
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(rope_table);
const RopeKernels* rope_kernels(std::size_t target_index) { return HWY_DISPATCH_TABLE(rope_table)[target_index](); }
}  // namespace lathe::kernels::cpu
#endif
