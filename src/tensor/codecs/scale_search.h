// Scales that minimise a weighted squared error. For integers q fixed, the best scale (and minimum) of a group of
// weights is a least-squares solution; the integers follow from the scale by rounding. So: try a range of scales around
// the one that just covers the largest weight, solve for each, keep the best, and alternate rounding and solving from
// there until it settles (Lloyd's iteration; it never gets worse).
//
// Every sum runs in eight lanes, in a fixed order: the same input gives the same bytes on every machine.
#pragma once

#include "tensor/codecs/rounding.h"

namespace lathe {

// The integers a format offers, both ends included. Formats with uneven levels bring a type of their own with the same
// two members (iq4.cpp).
struct Levels {
  float lowest, highest;
  float nearest(float value) const { return nearest_level(value, lowest, highest); }
};

struct AffineScale {
  float scale, offset;  // x = scale * q + offset
};

// How the candidates lie: `steps` of them, whose reciprocals are (levels + first + i * step) / range.
struct Candidates {
  float first, step;
  int steps;
};

namespace scale_search_detail {

inline float sum_of_lanes(const float* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// Sums of weight times the products named, over q = nearest(x * inverse + shift).
struct Sums {
  float q, qq, xq;
};

template <int kCount, class LevelSet>
Sums sums_for(const float* x, const float* weights, const LevelSet& levels, float inverse, float shift) {
  float q_lanes[8] = {}, qq_lanes[8] = {}, xq_lanes[8] = {};
  for (int i = 0; i < kCount; i += 8) {
    for (int k = 0; k < 8; ++k) {
      const float q = levels.nearest(x[i + k] * inverse + shift);
      const float wq = weights[i + k] * q;
      q_lanes[k] += wq;
      qq_lanes[k] += wq * q;
      xq_lanes[k] += wq * x[i + k];
    }
  }
  return {sum_of_lanes(q_lanes), sum_of_lanes(qq_lanes), sum_of_lanes(xq_lanes)};
}

}  // namespace scale_search_detail

// The scale of x = scale * q. The level range is taken to reach farther down than up (-n .. n - 1): the weight of
// largest magnitude goes near the lowest level, whatever its sign.
template <int kCount, class LevelSet>
float fit_scale(const float* x, const float* weights, const LevelSet& levels, Candidates candidates) {
  using namespace scale_search_detail;
  const float farthest = farthest_from_zero<kCount>(x);
  float best_scale = farthest / levels.lowest, best_gain = 0.0f;
  if (safe_reciprocal(best_scale) == 0.0f) return 0.0f;
  const auto try_inverse = [&](float inverse) {
    const Sums sums = sums_for<kCount>(x, weights, levels, inverse, 0.0f);
    // error = sum(w x x) - gain
    const float gain = sums.xq * sums.xq / sums.qq;
    if (!(gain > best_gain)) return false;
    best_gain = gain;
    best_scale = sums.xq / sums.qq;
    return true;
  };
  for (int i = 0; i < candidates.steps; ++i) {
    try_inverse((levels.lowest - (candidates.first + candidates.step * static_cast<float>(i))) / farthest);
  }
  for (int i = 0; i < 4 && try_inverse(1.0f / best_scale); ++i) {
  }
  return best_scale;
}

// Scale and offset of x = scale * q + offset with q in [0, highest]. With `offset_is_minimum` the offset may not be
// positive (the k-quants store a minimum to subtract).
template <int kCount>
AffineScale fit_affine(const float* x, const float* weights, float highest, Candidates candidates,
                       bool offset_is_minimum) {
  using namespace scale_search_detail;
  float w_lanes[8] = {}, x_lanes[8] = {};
  for (int i = 0; i < kCount; i += 8) {
    for (int k = 0; k < 8; ++k) {
      w_lanes[k] += weights[i + k];
      x_lanes[k] += weights[i + k] * x[i + k];
    }
  }
  const float sum_w = sum_of_lanes(w_lanes), sum_x = sum_of_lanes(x_lanes);
  Range range = range_of<kCount>(x);
  if (offset_is_minimum && range.smallest > 0.0f) range.smallest = 0.0f;
  const float width = range.largest - range.smallest;
  AffineScale best = {width / highest, range.smallest};
  if (safe_reciprocal(width) == 0.0f) return {0.0f, range.smallest};
  float best_gain = 0.0f;
  bool found = false;
  const auto try_inverse = [&](float inverse, float shift) {
    const Sums sums = sums_for<kCount>(x, weights, Levels{0.0f, highest}, inverse, shift);
    const float determinant = sum_w * sums.qq - sums.q * sums.q;
    if (!(determinant > 0.0f)) return false;
    AffineScale fit = {(sum_w * sums.xq - sum_x * sums.q) / determinant,
                       (sums.qq * sum_x - sums.q * sums.xq) / determinant};
    if (offset_is_minimum && fit.offset > 0.0f) fit = {sums.xq / sums.qq, 0.0f};
    // error = sum(w x x) - gain
    const float gain = fit.scale * (2.0f * sums.xq - fit.scale * sums.qq - 2.0f * fit.offset * sums.q) +
                       fit.offset * (2.0f * sum_x - fit.offset * sum_w);
    if (!(fit.scale > 0.0f) || (found && !(gain > best_gain))) return false;
    found = true;
    best_gain = gain;
    best = fit;
    return true;
  };
  for (int i = 0; i < candidates.steps; ++i) {
    const float inverse = (highest + candidates.first + candidates.step * static_cast<float>(i)) / width;
    try_inverse(inverse, -range.smallest * inverse);
  }
  for (int i = 0; i < 4 && try_inverse(1.0f / best.scale, -best.offset / best.scale); ++i) {
  }
  return best;
}

// Rounds a group under a given scale and offset into `q`, and returns the weighted squared error. A zero scale has all
// levels at zero.
template <int kCount, class LevelSet>
float round_group(const float* x, const float* weights, const LevelSet& levels, AffineScale fit, float* q) {
  const float inverse = safe_reciprocal(fit.scale);
  const float shift = -fit.offset * inverse;
  float lanes[8] = {};
  for (int i = 0; i < kCount; i += 8) {
    for (int k = 0; k < 8; ++k) {
      q[i + k] = levels.nearest(x[i + k] * inverse + shift);
      const float error = x[i + k] - (fit.scale * q[i + k] + fit.offset);
      lanes[k] += weights[i + k] * error * error;
    }
  }
  return scale_search_detail::sum_of_lanes(lanes);
}

}  // namespace lathe
