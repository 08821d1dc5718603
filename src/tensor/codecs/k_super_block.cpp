#include "tensor/codecs/k_super_block.h"

#include <algorithm>

namespace lathe {

SymmetricSuperBlock::SymmetricSuperBlock(const float* x, const float* importance, Levels levels, Levels scale_levels,
                                         Candidates candidates) {
  const ErrorWeights<kGroup> weights(importance);
  float fits[kGroups], farthest = 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    fits[g] = fit_scale<kGroup>(x + g * kGroup, weights.of + g * kGroup, levels, candidates);
    if (std::abs(fits[g]) > std::abs(farthest)) farthest = fits[g];
  }
  float wanted_unit = farthest / scale_levels.lowest, best_error = 0.0f;
  for (int pass = 0; pass < 2; ++pass) {
    const std::uint16_t half = half_from_float(wanted_unit);
    const float unit = float_from_half(half);
    float error = 0.0f, aa = 0.0f, xa = 0.0f;
    float chosen[kGroups], rounded[kSuperBlock];
    for (int g = 0; g < kGroups; ++g) {
      const float* group = x + g * kGroup;
      const float* w = weights.of + g * kGroup;
      const float near = nearest_level(fits[g] * safe_reciprocal(unit), scale_levels.lowest, scale_levels.highest);
      float best = 0.0f;
      for (int step = 0; step < 3; ++step) {
        const float scale = near + static_cast<float>((step + 1) % 3 - 1);  // the nearest first: it wins ties
        if (scale < scale_levels.lowest || scale > scale_levels.highest) continue;
        float trial[kGroup];
        const float trial_error = round_group<kGroup>(group, w, levels, {unit * scale, 0.0f}, trial);
        if (step > 0 && !(trial_error < best)) continue;
        best = trial_error;
        chosen[g] = scale;
        std::copy(trial, trial + kGroup, rounded + g * kGroup);
      }
      error += best;
      for (int i = 0; i < kGroup; ++i) {
        const float a = chosen[g] * rounded[g * kGroup + i];
        aa += w[i] * a * a;
        xa += w[i] * a * group[i];
      }
    }
    if (pass > 0 && !(error < best_error)) break;
    best_error = error;
    d = half;
    for (int g = 0; g < kGroups; ++g) scales[g] = static_cast<std::int8_t>(chosen[g]);
    for (int i = 0; i < kSuperBlock; ++i) q[i] = static_cast<std::int8_t>(rounded[i]);
    if (!(aa > 0.0f)) break;
    wanted_unit = xa / aa;  // least squares with every integer fixed
  }
}

}  // namespace lathe
