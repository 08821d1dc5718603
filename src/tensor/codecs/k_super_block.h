// How the k-quants are written: a super-block of 256 weights has a half scale (and a half scale of minima), and each
// group of 16 or 32 weights an integer scale (and minimum) in units of it. Groups are fitted freely first
// (scale_search.h); then the integers next to each group's fit are tried with the weights rounded again; then the
// half scales are solved for with all integers fixed, and the integers are chosen once more.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/half.h"
#include "tensor/codecs/scale_search.h"

namespace lathe {

constexpr int kSuperBlock = 256;

// Weights of the squared errors of kCount values, of mean 1; a group without any weight counts evenly.
template <int kGroup, int kCount = kSuperBlock>
struct ErrorWeights {
  float of[kCount];

  explicit ErrorWeights(const float* importance) {
    std::fill_n(of, kCount, 1.0f);
    if (importance == nullptr) return;
    float total = 0.0f;
    for (int i = 0; i < kCount; ++i) total += importance[i];
    const float unit = safe_reciprocal(total / kCount);
    for (int begin = 0; begin < kCount; begin += kGroup) {
      float group_total = 0.0f;
      for (int i = begin; i < begin + kGroup; ++i) group_total += importance[i] * unit;
      for (int i = begin; i < begin + kGroup && group_total > 1e-20f; ++i) of[i] = importance[i] * unit;
    }
  }
};

// x = (d * scale) * q - (dmin * minimum), q in [0, levels], scale and minimum in [0, scale_levels].
template <int kGroup>
struct AffineSuperBlock {
  static constexpr int kGroups = kSuperBlock / kGroup;
  std::uint16_t d = 0, dmin = 0;  // half
  std::uint8_t scales[kGroups] = {}, minima[kGroups] = {};
  std::uint8_t q[kSuperBlock] = {};

  AffineSuperBlock(const float* x, const float* importance, float levels, float scale_levels, Candidates candidates) {
    const ErrorWeights<kGroup> weights(importance);
    AffineScale fits[kGroups];
    float largest_scale = 0.0f, largest_minimum = 0.0f;
    for (int g = 0; g < kGroups; ++g) {
      fits[g] = fit_affine<kGroup>(x + g * kGroup, weights.of + g * kGroup, levels, candidates, true);
      largest_scale = std::max(largest_scale, fits[g].scale);
      largest_minimum = std::max(largest_minimum, -fits[g].offset);
    }
    float unit = largest_scale / scale_levels, minimum_unit = largest_minimum / scale_levels;
    float best_error = 0.0f;
    for (int pass = 0; pass < 2; ++pass) {
      Attempt attempt(unit, minimum_unit);
      for (int g = 0; g < kGroups; ++g) attempt.choose(g, x, weights.of, fits[g], levels, scale_levels);
      if (pass > 0 && !(attempt.error < best_error)) break;
      best_error = attempt.error;
      keep(attempt);
      if (!attempt.solve_units(x, weights.of, unit, minimum_unit)) break;
    }
  }

 private:
  struct Attempt {
    std::uint16_t d, dmin;
    float unit, minimum_unit, error = 0.0f;
    float scales[kGroups], minima[kGroups], q[kSuperBlock];

    Attempt(float wanted_unit, float wanted_minimum_unit)
        : d(half_from_float(wanted_unit)),
          dmin(half_from_float(wanted_minimum_unit)),
          unit(float_from_half(d)),
          minimum_unit(float_from_half(dmin)) {}

    // The integer scale and minimum of group g among those around its fit.
    void choose(int g, const float* x, const float* w, AffineScale fit, float levels, float scale_levels) {
      // The nearest pair comes first, so that it wins ties; the two that change the sum of scale and offset most in
      // opposite ways come last or not at all.
      static constexpr int kSteps[8][2] = {{0, 0}, {1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, 1}, {-1, -1}, {-1, 1}};
      const Levels q_levels = {0.0f, levels}, offered = {0.0f, scale_levels};
      const float scale_near = offered.nearest(fit.scale * safe_reciprocal(unit));
      const float minimum_near = offered.nearest(-fit.offset * safe_reciprocal(minimum_unit));
      float trial_scales[8], trial_minima[8];
      EightScales trials;
      for (int k = 0; k < 8; ++k) {
        trial_scales[k] = offered.nearest(scale_near + static_cast<float>(kSteps[k][0]));
        trial_minima[k] = offered.nearest(minimum_near + static_cast<float>(kSteps[k][1]));
        trials.scale[k] = unit * trial_scales[k];
        trials.offset[k] = -(minimum_unit * trial_minima[k]);
      }
      const Choice choice = choose_scale<kGroup>(x + g * kGroup, w + g * kGroup, q_levels, trials);
      scales[g] = trial_scales[choice.lane];
      minima[g] = trial_minima[choice.lane];
      error += choice.error;
      round_group<kGroup>(x + g * kGroup, q_levels, {trials.scale[choice.lane], trials.offset[choice.lane]},
                          q + g * kGroup);
    }

    // Least squares for both units with every integer fixed; false when there is no better positive solution.
    bool solve_units(const float* x, const float* w, float& wanted_unit, float& wanted_minimum_unit) const {
      float aa = 0.0f, ab = 0.0f, bb = 0.0f, xa = 0.0f, xb = 0.0f;
      for (int i = 0; i < kSuperBlock; ++i) {
        const float a = scales[i / kGroup] * q[i], b = minima[i / kGroup];
        aa += w[i] * a * a;
        ab += w[i] * a * b;
        bb += w[i] * b * b;
        xa += w[i] * a * x[i];
        xb += w[i] * b * x[i];
      }
      const float determinant = aa * bb - ab * ab;
      if (determinant > 1e-6f * aa * bb) {
        wanted_unit = (xa * bb - xb * ab) / determinant;
        wanted_minimum_unit = (xa * ab - xb * aa) / determinant;
      } else if (aa > 0.0f && bb == 0.0f) {
        wanted_unit = xa / aa;
        wanted_minimum_unit = 0.0f;
      } else {
        return false;
      }
      return wanted_unit > 0.0f && wanted_minimum_unit >= 0.0f;
    }
  };

  void keep(const Attempt& attempt) {
    d = attempt.d;
    dmin = attempt.dmin;
    for (int g = 0; g < kGroups; ++g) {
      scales[g] = static_cast<std::uint8_t>(attempt.scales[g]);
      minima[g] = static_cast<std::uint8_t>(attempt.minima[g]);
    }
    for (int i = 0; i < kSuperBlock; ++i) q[i] = static_cast<std::uint8_t>(attempt.q[i]);
  }
};

// x = (d * scale) * q with signed scales in scale_levels and q one of `levels`.
template <int kGroup>
struct SymmetricSuperBlock {
  static constexpr int kGroups = kSuperBlock / kGroup;
  std::uint16_t d = 0;  // half
  std::int8_t scales[kGroups] = {};
  std::int8_t q[kSuperBlock] = {};

  template <class LevelSet>
  SymmetricSuperBlock(const float* x, const float* importance, const LevelSet& levels, Levels scale_levels,
                      Candidates candidates) {
    const ErrorWeights<kGroup> weights(importance);
    float fits[kGroups], farthest = 0.0f;
    for (int g = 0; g < kGroups; ++g) {
      fits[g] = fit_scale<kGroup>(x + g * kGroup, weights.of + g * kGroup, levels, candidates);
      if (std::abs(fits[g]) > std::abs(farthest)) farthest = fits[g];
    }
    float unit = farthest / scale_levels.lowest, best_error = 0.0f;
    for (int pass = 0; pass < 2; ++pass) {
      Attempt attempt(unit);
      for (int g = 0; g < kGroups; ++g) attempt.choose(g, x, weights.of, fits[g], levels, scale_levels);
      if (pass > 0 && !(attempt.error < best_error)) break;
      best_error = attempt.error;
      keep(attempt);
      if (!attempt.solve_unit(x, weights.of, unit)) break;
    }
  }

 private:
  struct Attempt {
    std::uint16_t d;
    float unit, error = 0.0f;
    float scales[kGroups], q[kSuperBlock];

    explicit Attempt(float wanted_unit) : d(half_from_float(wanted_unit)), unit(float_from_half(d)) {}

    // The integer scale of group g among those around its fit.
    template <class LevelSet>
    void choose(int g, const float* x, const float* w, float fit, const LevelSet& levels, Levels scale_levels) {
      static constexpr int kSteps[8] = {0, 1, -1, 2, -2, 3, -3, 4};  // the nearest first: it wins ties
      const float near = scale_levels.nearest(fit * safe_reciprocal(unit));
      float trial_scales[8];
      EightScales trials;
      for (int k = 0; k < 8; ++k) {
        trial_scales[k] = scale_levels.nearest(near + static_cast<float>(kSteps[k]));
        trials.scale[k] = unit * trial_scales[k];
        trials.offset[k] = 0.0f;
      }
      const Choice choice = choose_scale<kGroup>(x + g * kGroup, w + g * kGroup, levels, trials);
      scales[g] = trial_scales[choice.lane];
      error += choice.error;
      round_group<kGroup>(x + g * kGroup, levels, {trials.scale[choice.lane], 0.0f}, q + g * kGroup);
    }

    // Least squares with every integer fixed; false when they are all zero.
    bool solve_unit(const float* x, const float* w, float& wanted_unit) const {
      float aa = 0.0f, xa = 0.0f;
      for (int i = 0; i < kSuperBlock; ++i) {
        const float a = scales[i / kGroup] * q[i];
        aa += w[i] * a * a;
        xa += w[i] * a * x[i];
      }
      if (!(aa > 0.0f)) return false;
      wanted_unit = xa / aa;
      return true;
    }
  };

  void keep(const Attempt& attempt) {
    d = attempt.d;
    for (int g = 0; g < kGroups; ++g) scales[g] = static_cast<std::int8_t>(attempt.scales[g]);
    for (int i = 0; i < kSuperBlock; ++i) q[i] = static_cast<std::int8_t>(attempt.q[i]);
  }
};

}  // namespace lathe
