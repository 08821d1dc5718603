// Rounding and extremes of a block, shared by the integer codecs. The formats' bits depend on them, so they are spelled
// out (ties, signs) rather than left to the current rounding mode, and shaped so that compilers vectorize them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tensor/codecs/lanes.h"

namespace lathe {

// To the nearest integer, halves away from zero (|value| < 2^31).
inline std::int32_t round_away(float value) {
  const std::int32_t whole = static_cast<std::int32_t>(value);
  const float rest = value - static_cast<float>(whole);
  return whole + static_cast<std::int32_t>(rest >= 0.5f) - static_cast<std::int32_t>(rest <= -0.5f);
}

// The integer part of a value expected in [0, highest + 1), kept inside [0, highest]; 0 for NaN.
inline std::int32_t truncate_to(float value, float highest) {
  value = value > 0.0f ? value : 0.0f;
  return static_cast<std::int32_t>(value < highest ? value : highest);
}

// Floats of this size have no fraction, so adding it rounds.
constexpr float kWholeFromHere = 0x1.8p23f;

// The nearest integer inside [lowest, highest] (|bounds| < 2^21), as a float; halves to even, NaN to lowest.
inline float nearest_level(float value, float lowest, float highest) {
  value = value > lowest ? value : lowest;
  value = value < highest ? value : highest;
  return (value + kWholeFromHere) - kWholeFromHere;
}

inline Lanes nearest_level(Lanes values, float lowest, float highest) {
  values = lesser_of(greater_of(values, Lanes::all(lowest)), Lanes::all(highest));
  const Lanes whole_from_here = Lanes::all(kWholeFromHere);
  return (values + whole_from_here) - whole_from_here;
}

// 1 / scale, or 0 where the reciprocal is not finite: such a scale is below every 16-bit float and decodes to zero.
inline float safe_reciprocal(float scale) {
  const float reciprocal = 1.0f / scale;
  return std::isfinite(reciprocal) ? reciprocal : 0.0f;
}

// The largest magnitude of kCount values (a multiple of 8).
template <int kCount>
float largest_magnitude(const float* values) {
  float lanes[8] = {};
  for (int i = 0; i < kCount; i += 8) {
    for (int k = 0; k < 8; ++k) {
      const float magnitude = std::abs(values[i + k]);
      lanes[k] = magnitude > lanes[k] ? magnitude : lanes[k];
    }
  }
  float largest = lanes[0];
  for (int k = 1; k < 8; ++k) largest = lanes[k] > largest ? lanes[k] : largest;
  return largest;
}

// The first value of largest magnitude, with its sign.
template <int kCount>
float farthest_from_zero(const float* values) {
  const float magnitude = largest_magnitude<kCount>(values);
  for (int i = 0; i < kCount; ++i) {
    if (std::abs(values[i]) == magnitude) return values[i];
  }
  return magnitude;
}

struct Range {
  float smallest, largest;
};

// The first smallest and the largest of kCount values (a multiple of 8).
template <int kCount>
Range range_of(const float* values) {
  float low[8], high[8];
  for (int k = 0; k < 8; ++k) low[k] = high[k] = values[k];
  for (int i = 8; i < kCount; i += 8) {
    for (int k = 0; k < 8; ++k) {
      const float value = values[i + k];
      low[k] = value < low[k] ? value : low[k];
      high[k] = value > high[k] ? value : high[k];
    }
  }
  Range range = {low[0], high[0]};
  for (int k = 1; k < 8; ++k) {
    range.smallest = low[k] < range.smallest ? low[k] : range.smallest;
    range.largest = high[k] > range.largest ? high[k] : range.largest;
  }
  for (int i = 0; i < kCount; ++i) {  // tells -0 from 0
    if (values[i] == range.smallest) return {values[i], range.largest};
  }
  return range;
}

}  // namespace lathe
