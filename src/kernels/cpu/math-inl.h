// Vector versions of exp, tanh, erf and the activations, and loads and stores of partial vectors. One copy per
// instruction set: included by kernel files inside Highway's foreach_target.
#include <cstddef>
#include <cstring>

#include "hwy/highway.h"

#if defined(LATHE_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_MATH_INL_H_
#undef LATHE_KERNELS_CPU_MATH_INL_H_
#else
#define LATHE_KERNELS_CPU_MATH_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

// For a lambda in an inner loop, which GCC would rather call when there are many of them.
#undef LATHE_INLINE_LAMBDA
#define LATHE_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
using DI = hn::ScalableTag<std::int32_t>;
using VI = hn::Vec<DI>;
inline constexpr std::size_t kLanes = HWY_MAX_BYTES / sizeof(float);

// The first n < lanes elements, then zeros; touches no byte beyond them.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> load_tail(D d, const T* p, std::size_t n) {
  alignas(64) T buffer[hn::MaxLanes(d)] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return hn::Load(d, buffer);
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void store_tail(D d, hn::Vec<D> v, T* p, std::size_t n) {
  alignas(64) T buffer[hn::MaxLanes(d)];
  hn::Store(v, d, buffer);
  std::memcpy(p, buffer, n * sizeof(T));
}

// e^x, within 2 units in the last place of normal results; 0 below -104, infinity above 88.73, NaN for NaN. The
// argument is reduced by multiples of ln 2 (in two parts) and the rest summed as a Taylor series, whose error is below
// 2^-27.
HWY_INLINE VF vexp(VF x) {
  const DF d;
  const DI di;
  const VF low = hn::Set(d, -104.0f), high = hn::Set(d, 89.0f);
  const VF clamped = hn::Min(high, hn::Max(low, x));  // NaN is restored below
  const VF n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  VF r = hn::NegMulAdd(n, hn::Set(d, 0.693145752f), clamped);
  r = hn::NegMulAdd(n, hn::Set(d, 1.42860677e-6f), r);
  VF p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  // 2^n in two factors, so that neither leaves the range of exponents.
  const VI exponent = hn::ConvertTo(di, n);
  const VI half = hn::ShiftRight<1>(exponent);
  const VI bias = hn::Set(di, 127);
  const VF first = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const VF second = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(exponent, half), bias)));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Mul(hn::Mul(p, first), second));
}

// tanh, within 4e-7 of the result: the series near zero, where 1 - 2 / (e^2x + 1) would cancel.
HWY_INLINE VF vtanh(VF x) {
  const DF d;
  const VF one = hn::Set(d, 1.0f);
  const VF magnitude = hn::Abs(x);
  const VF e = vexp(hn::Add(magnitude, magnitude));
  const VF large = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(e, one)));
  const VF s = hn::Mul(x, x);
  VF p = hn::Set(d, 21844.0f / 6081075);
  p = hn::MulAdd(p, s, hn::Set(d, -1382.0f / 155925));
  p = hn::MulAdd(p, s, hn::Set(d, 62.0f / 2835));
  p = hn::MulAdd(p, s, hn::Set(d, -17.0f / 315));
  p = hn::MulAdd(p, s, hn::Set(d, 2.0f / 15));
  p = hn::MulAdd(p, s, hn::Set(d, -1.0f / 3));
  p = hn::MulAdd(hn::Mul(p, s), magnitude, magnitude);
  const VF result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.4f)), p, large);
  return hn::CopySignToAbs(result, x);
}

// erf, within 3e-7 absolute (Abramowitz and Stegun, 7.1.26).
HWY_INLINE VF verf(VF x) {
  const DF d;
  const VF one = hn::Set(d, 1.0f);
  const VF magnitude = hn::Abs(x);
  const VF t = hn::Div(one, hn::MulAdd(magnitude, hn::Set(d, 0.3275911f), one));
  VF p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  p = hn::Mul(p, t);
  const VF result = hn::NegMulAdd(p, vexp(hn::Neg(hn::Mul(x, x))), one);
  return hn::CopySignToAbs(result, x);
}

// x / (1 + e^-kx)
HWY_INLINE VF vsigmoid_times(VF x, VF minus_kx) {
  const DF d;
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), vexp(minus_kx)));
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
