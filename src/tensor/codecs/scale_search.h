// Scales that minimise a weighted squared error. For integers q fixed, the best scale (and minimum) of a group of
// weights is a least-squares solution; the integers follow from the scale by rounding. So: try a range of scales around
// the one that just covers the largest weight, solve for each, keep the best, and try again ever closer around it.
//
// Eight candidates are tried at once, one per lane, and sums run over the weights in order: it is fast, and the same
// input gives the same bytes on every machine.
#pragma once

#include "tensor/codecs/rounding.h"

namespace lathe {

// The integers a format offers, both ends included. Formats with uneven levels bring a type of their own with the same
// members (iq4.cpp).
struct Levels {
  float lowest, highest;
  float nearest(float value) const { return nearest_level(value, lowest, highest); }
  Lanes nearest(Lanes values) const { return nearest_level(values, lowest, highest); }
};

struct AffineScale {
  float scale, offset;  // x = scale * q + offset
};

// How the first candidates lie: their reciprocals are (levels + first + i * step) / range for i = 0 .. 15.
struct Candidates {
  float first, step;
  int offset_cuts = 1;  // fit_affine tries this many offsets: the smallest weight, and ever less of it
};

namespace scale_search_detail {

constexpr int kSweeps = 2;  // of kLanes first candidates
// Closer candidates lie at 1 + spread * (lane - 3) times the best scale's reciprocal; lane 3 is Lloyd's iteration.
constexpr float kSpreads[] = {0.03f, 0.008f};

// Sums of weight times the products named, over q = nearest(x * inverse + shift).
struct Sums {
  Lanes q, qq, xq;
};

template <int kCount, class LevelSet>
Sums sums_for(const float* x, const float* weights, const LevelSet& levels, Lanes inverse, Lanes shift) {
  Sums sums;
  for (int i = 0; i < kCount; ++i) {
    const Lanes q = levels.nearest(inverse * x[i] + shift);
    const Lanes wq = q * weights[i];
    sums.q = sums.q + wq;
    sums.qq = sums.qq + wq * q;
    sums.xq = sums.xq + wq * x[i];
  }
  return sums;
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
  const auto try_all = [&](Lanes inverse) {
    const Sums sums = sums_for<kCount>(x, weights, levels, inverse, Lanes{});
    for (int k = 0; k < kLanes; ++k) {
      const float scale = sums.xq[k] / sums.qq[k];
      const float gain = sums.xq[k] * scale;  // error = sum(w x x) - gain
      if (!(gain > best_gain)) continue;
      best_gain = gain;
      best_scale = scale;
    }
  };
  float inverse[kLanes];
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (int k = 0; k < kLanes; ++k) {
      const float past_lowest = candidates.first + candidates.step * static_cast<float>(sweep * kLanes + k);
      inverse[k] = (levels.lowest - past_lowest) / farthest;
    }
    try_all(Lanes::of(inverse));
  }
  for (const float spread : kSpreads) {
    for (int k = 0; k < kLanes; ++k) inverse[k] = (1.0f + spread * static_cast<float>(k - 3)) / best_scale;
    try_all(Lanes::of(inverse));
  }
  return best_scale;
}

// Scale and offset of x = scale * q + offset with q in [0, highest]. With `offset_is_minimum` the offset may not be
// positive (the k-quants store a minimum to subtract).
template <int kCount>
AffineScale fit_affine(const float* x, const float* weights, float highest, Candidates candidates,
                       bool offset_is_minimum) {
  using namespace scale_search_detail;
  float sum_w = 0.0f, sum_x = 0.0f;
  for (int i = 0; i < kCount; ++i) {
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  Range range = range_of<kCount>(x);
  if (offset_is_minimum && range.smallest > 0.0f) range.smallest = 0.0f;
  const float width = range.largest - range.smallest;
  AffineScale best = {width / highest, range.smallest};
  if (safe_reciprocal(width) == 0.0f) return {0.0f, range.smallest};
  float best_gain = 0.0f;
  bool found = false;
  const auto try_all = [&](Lanes inverse, Lanes shift) {
    const Sums sums = sums_for<kCount>(x, weights, Levels{0.0f, highest}, inverse, shift);
    for (int k = 0; k < kLanes; ++k) {
      const float q = sums.q[k], qq = sums.qq[k], xq = sums.xq[k];
      const float determinant = sum_w * qq - q * q;
      AffineScale fit = {(sum_w * xq - sum_x * q) / determinant, (qq * sum_x - q * xq) / determinant};
      if (offset_is_minimum && fit.offset > 0.0f) fit = {xq / qq, 0.0f};
      // error = sum(w x x) - gain
      const float gain = fit.scale * (2.0f * xq - fit.scale * qq - 2.0f * fit.offset * q) +
                         fit.offset * (2.0f * sum_x - fit.offset * sum_w);
      if (!(determinant > 0.0f && fit.scale > 0.0f && (!found || gain > best_gain))) continue;
      found = true;
      best_gain = gain;
      best = fit;
    }
  };
  float inverse[kLanes], shift[kLanes];
  for (int cut = 0; cut < candidates.offset_cuts; ++cut) {
    const float smallest = range.smallest * (1.0f - 0.25f * static_cast<float>(cut));
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      for (int k = 0; k < kLanes; ++k) {
        const float past_highest = candidates.first + candidates.step * static_cast<float>(sweep * kLanes + k);
        inverse[k] = (highest + past_highest) / (range.largest - smallest);
        shift[k] = -smallest * inverse[k];
      }
      try_all(Lanes::of(inverse), Lanes::of(shift));
    }
  }
  for (const float spread : kSpreads) {
    for (int k = 0; k < kLanes; ++k) {
      inverse[k] = (1.0f + spread * static_cast<float>(k - 3)) / best.scale;
      shift[k] = -best.offset * inverse[k];
    }
    try_all(Lanes::of(inverse), Lanes::of(shift));
  }
  return best;
}

// Rounds a group under a given scale and offset into `q`. A zero scale has all levels at zero.
template <int kCount, class LevelSet>
void round_group(const float* x, const LevelSet& levels, AffineScale fit, float* q) {
  const float inverse = safe_reciprocal(fit.scale);
  const float shift = -fit.offset * inverse;
  for (int i = 0; i < kCount; ++i) q[i] = levels.nearest(x[i] * inverse + shift);
}

// Eight scales and offsets to choose among, and which of them has the smallest weighted squared error after rounding
// (the first of equals).
struct EightScales {
  float scale[kLanes], offset[kLanes];
};
struct Choice {
  int lane;
  float error;
};

template <int kCount, class LevelSet>
Choice choose_scale(const float* x, const float* weights, const LevelSet& levels, const EightScales& trials) {
  float inverses[kLanes], shifts[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    inverses[k] = safe_reciprocal(trials.scale[k]);
    shifts[k] = -trials.offset[k] * inverses[k];
  }
  const Lanes inverse = Lanes::of(inverses), shift = Lanes::of(shifts);
  const Lanes scale = Lanes::of(trials.scale), offset = Lanes::of(trials.offset);
  Lanes errors;
  for (int i = 0; i < kCount; ++i) {
    const Lanes q = levels.nearest(inverse * x[i] + shift);
    const Lanes error = Lanes::all(x[i]) - (scale * q + offset);
    errors = errors + error * error * weights[i];
  }
  int best = 0;
  for (int k = 1; k < kLanes; ++k) best = errors[k] < errors[best] ? k : best;
  return {best, errors[best]};
}

}  // namespace lathe
