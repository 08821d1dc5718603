#include "tensor/codecs/block32.h"

#include "base/half.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {

SymmetricBlock32::SymmetricBlock32(const float* x, const float* importance, int levels) {
  const int half = levels / 2;
  const auto half_levels = static_cast<float>(half);
  if (importance != nullptr) {
    const ErrorWeights<32, 32> weights(importance);
    const Levels signed_levels = {-half_levels, half_levels - 1.0f};
    d = half_from_float(fit_scale<32>(x, weights.of, signed_levels, {-0.9f, 0.12f}));
    float rounded[32];
    round_group<32>(x, signed_levels, {float_from_half(d), 0.0f}, rounded);
    for (int i = 0; i < 32; ++i) q[i] = static_cast<std::uint8_t>(rounded[i] + half_levels);
    return;
  }
  // The weight of largest magnitude goes to the lowest level, whatever its sign.
  const float scale = farthest_from_zero<32>(x) / -half_levels;
  const float inverse = safe_reciprocal(scale), highest = static_cast<float>(levels - 1);
  d = half_from_float(scale);
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<std::uint8_t>(truncate_to(x[i] * inverse + (half_levels + 0.5f), highest));
  }
}

AffineBlock32::AffineBlock32(const float* x, const float* importance, int levels) {
  const float highest = static_cast<float>(levels - 1);
  if (importance != nullptr) {
    const ErrorWeights<32, 32> weights(importance);
    const AffineScale fit = fit_affine<32>(x, weights.of, highest, {-0.9f, 0.12f}, false);
    d = half_from_float(fit.scale);
    m = half_from_float(fit.offset);
    float rounded[32];
    round_group<32>(x, Levels{0.0f, highest}, {float_from_half(d), float_from_half(m)}, rounded);
    for (int i = 0; i < 32; ++i) q[i] = static_cast<std::uint8_t>(rounded[i]);
    return;
  }
  // The smallest weight goes to level 0 and the largest to the highest.
  const Range range = range_of<32>(x);
  const float scale = (range.largest - range.smallest) / highest;
  const float inverse = safe_reciprocal(scale);
  d = half_from_float(scale);
  m = half_from_float(range.smallest);
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<std::uint8_t>(truncate_to((x[i] - range.smallest) * inverse + 0.5f, highest));
  }
}

}  // namespace lathe
