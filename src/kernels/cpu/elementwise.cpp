// Activations, gates, sums, scales and argmax over runs of floats.
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
const ElementwiseKernels* elementwise_table() { return &kReferenceElementwise; }
#else

HWY_INLINE VF relu(VF x) {
  const DF d;
  return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), x);  // keeps NaN
}

template <ActivationKind kKind>
HWY_INLINE VF activation(VF x) {
  const DF d;
  if constexpr (kKind == ActivationKind::kSilu) {
    return vsigmoid_times(x, hn::Neg(x));
  } else if constexpr (kKind == ActivationKind::kGeluQuick) {
    return vsigmoid_times(x, hn::Mul(x, hn::Set(d, -1.702f)));
  } else if constexpr (kKind == ActivationKind::kGeluTanh) {
    // 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    const VF s = hn::Mul(x, x);
    const VF u = hn::Mul(x, hn::MulAdd(s, hn::Set(d, -2 * 0.797884561f * 0.044715f), hn::Set(d, -2 * 0.797884561f)));
    return vsigmoid_times(x, u);
  } else if constexpr (kKind == ActivationKind::kGelu) {
    const VF half = hn::Mul(x, hn::Set(d, 0.5f));
    return hn::MulAdd(half, verf(hn::Mul(x, hn::Set(d, 0.707106781f))), half);
  } else if constexpr (kKind == ActivationKind::kRelu) {
    return relu(x);
  } else {
    return hn::Mul(relu(x), relu(x));
  }
}

// out[i] = f(in[i]...) over n elements, any number of inputs.
template <class F, class... In>
HWY_INLINE void map(float* out, std::size_t n, const F& f, const In*... in) {
  const DF d;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(f(hn::LoadU(d, in + i)...), d, out + i);
  if (i < n) store_tail(d, f(load_tail(d, in + i, n - i)...), out + i, n - i);
}

// Calls body with the kind as a compile-time constant.
template <class Body>
HWY_INLINE void with_kind(ActivationKind kind, const Body& body) {
  using K = ActivationKind;
  switch (kind) {
    case K::kSilu:
      return body(std::integral_constant<K, K::kSilu>());
    case K::kGelu:
      return body(std::integral_constant<K, K::kGelu>());
    case K::kGeluTanh:
      return body(std::integral_constant<K, K::kGeluTanh>());
    case K::kGeluQuick:
      return body(std::integral_constant<K, K::kGeluQuick>());
    case K::kRelu:
      return body(std::integral_constant<K, K::kRelu>());
    case K::kRelu2:
      return body(std::integral_constant<K, K::kRelu2>());
  }
}

void activate(ActivationKind kind, float* out, const float* x, std::size_t n) {
  with_kind(kind, [&](auto k) HWY_ATTR {
    map(
        out, n, [](VF v) HWY_ATTR { return activation<decltype(k)::value>(v); }, x);
  });
}

void gated(ActivationKind kind, float* out, const float* gate, const float* up, std::size_t n) {
  with_kind(kind, [&](auto k) HWY_ATTR {
    map(
        out, n, [](VF g, VF u) HWY_ATTR { return hn::Mul(activation<decltype(k)::value>(g), u); }, gate, up);
  });
}

void gated_clamped(float* out, const float* gate, const float* up, float limit, std::size_t n) {
  const DF d;
  const VF high = hn::Set(d, limit), low = hn::Set(d, -limit), one = hn::Set(d, 1.0f);
  // Comparisons rather than minima, so that NaN stays NaN on every instruction set.
  const auto at_most = [](VF x, VF limit_of_x)
                           HWY_ATTR { return hn::IfThenElse(hn::Gt(x, limit_of_x), limit_of_x, x); };
  map(
      out, n,
      [&](VF g, VF u) HWY_ATTR {
        const VF clamped = hn::IfThenElse(hn::Lt(u, low), low, at_most(u, high));
        return hn::Mul(hn::Add(clamped, one), activation<ActivationKind::kGeluQuick>(at_most(g, high)));
      },
      gate, up);
}

void add(float* out, const float* a, const float* b, std::size_t n) {
  map(
      out, n, [](VF x, VF y) HWY_ATTR { return hn::Add(x, y); }, a, b);
}

void scale(float* x, float factor, std::size_t n) {
  const VF f = hn::Set(DF(), factor);
  map(
      x, n, [f](VF v) HWY_ATTR { return hn::Mul(v, f); }, x);
}

void add_scaled(float* out, const float* x, float factor, std::size_t n) {
  const VF f = hn::Set(DF(), factor);
  map(
      out, n, [f](VF o, VF v) HWY_ATTR { return hn::MulAdd(f, v, o); }, out, x);
}

void softcap(float* x, float cap, std::size_t n) {
  const VF c = hn::Set(DF(), cap);
  map(
      x, n, [c](VF v) HWY_ATTR { return hn::Mul(c, vtanh(hn::Div(v, c))); }, x);
}

std::size_t argmax(const float* x, std::size_t n) {
  const DF d;
  VF largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF v = hn::LoadU(d, x + i);
    largest = hn::IfThenElse(hn::Gt(v, largest), v, largest);
  }
  float best = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  const VF target = hn::Set(d, best);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const std::intptr_t lane = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, x + i), target));
    if (lane >= 0) return i + static_cast<std::size_t>(lane);
  }
  for (; i < n; ++i) {
    if (x[i] == best) return i;
  }
  return 0;  // nothing but NaN
}

const ElementwiseKernels* elementwise_table() {
  static constexpr ElementwiseKernels kTable{activate, gated, gated_clamped, add, scale, add_scaled, softcap, argmax};
  return &kTable;
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(elementwise_table);
const ElementwiseKernels* elementwise_kernels(std::size_t target_index) {
  return HWY_DISPATCH_TABLE(elementwise_table)[target_index]();
}
}  // namespace lathe::kernels::cpu
#endif
