// RMS and layer normalisation. Sums run in four vectors of floats, joined in a fixed order, so that rounding errors
// grow with n / (4 * lanes) rather than n.
#include <cmath>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
const NormKernels* norm_table() { return &kReferenceNorm; }
#else

// Sum of term(x) over n elements.
template <class Term>
HWY_INLINE float sum_of(const float* x, std::size_t n, const Term& term) {
  const DF d;
  VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 = hn::Add(s0, term(hn::LoadU(d, x + i)));
    s1 = hn::Add(s1, term(hn::LoadU(d, x + i + kLanes)));
    s2 = hn::Add(s2, term(hn::LoadU(d, x + i + 2 * kLanes)));
    s3 = hn::Add(s3, term(hn::LoadU(d, x + i + 3 * kLanes)));
  }
  for (; i + kLanes <= n; i += kLanes) s0 = hn::Add(s0, term(hn::LoadU(d, x + i)));
  if (i < n) {
    const VF valid = hn::VecFromMask(d, hn::FirstN(d, n - i));
    s1 = hn::Add(s1, hn::And(valid, term(load_tail(d, x + i, n - i))));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

// out = (x - mean) * inverse * weight + bias
void apply(float* out, const float* x, float mean, float inverse, const float* weight, const float* bias,
           std::size_t n) {
  const DF d;
  const VF vmean = hn::Set(d, mean), vinverse = hn::Set(d, inverse);
  for (std::size_t i = 0; i < n; i += kLanes) {
    const std::size_t count = n - i;
    const auto load = [&](const float* p) {
      return count >= kLanes ? hn::LoadU(d, p + i) : load_tail(d, p + i, count);
    };
    VF v = hn::Mul(hn::Sub(load(x), vmean), vinverse);
    if (weight) v = hn::Mul(v, load(weight));
    if (bias) v = hn::Add(v, load(bias));
    if (count >= kLanes) {
      hn::StoreU(v, d, out + i);
    } else {
      store_tail(d, v, out + i, count);
    }
  }
}

void rms(float* out, const float* x, const float* weight, const float* bias, std::size_t n, float eps) {
  const float squares = sum_of(x, n, [](VF v) HWY_ATTR { return hn::Mul(v, v); });
  apply(out, x, 0, 1 / std::sqrt(squares / static_cast<float>(n) + eps), weight, bias, n);
}

void layer(float* out, const float* x, const float* weight, const float* bias, std::size_t n, float eps) {
  const DF d;
  const float mean = sum_of(x, n, [](VF v) HWY_ATTR { return v; }) / static_cast<float>(n);
  const VF vmean = hn::Set(d, mean);
  const float squares = sum_of(x, n, [vmean](VF v) HWY_ATTR {
    const VF centred = hn::Sub(v, vmean);
    return hn::Mul(centred, centred);
  });
  apply(out, x, mean, 1 / std::sqrt(squares / static_cast<float>(n) + eps), weight, bias, n);
}

const NormKernels* norm_table() {
  static constexpr NormKernels kTable{rms, layer};
  return &kTable;
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(norm_table);
const NormKernels* norm_kernels(std::size_t target_index) { return HWY_DISPATCH_TABLE(norm_table)[target_index](); }
}  // namespace lathe::kernels::cpu
#endif
