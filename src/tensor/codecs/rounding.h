// Rounding shared by the integer codecs. The formats' bits depend on it, so it is spelled out rather than left to the
// current rounding mode.
#pragma once

#include <cmath>
#include <cstdint>

namespace lathe {

// To the nearest integer, halves away from zero (|value| < 2^31); branch-free, so that loops over it vectorize.
inline std::int32_t round_away(float value) {
  const std::int32_t whole = static_cast<std::int32_t>(value);
  const float rest = value - static_cast<float>(whole);
  return whole + static_cast<std::int32_t>(rest >= 0.5f) - static_cast<std::int32_t>(rest <= -0.5f);
}

// 1 / scale, or 0 where the reciprocal is not finite: such a scale is below every 16-bit float and decodes to zero.
inline float safe_reciprocal(float scale) {
  const float reciprocal = 1.0f / scale;
  return std::isfinite(reciprocal) ? reciprocal : 0.0f;
}

}  // namespace lathe
