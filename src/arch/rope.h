// Rotary frequencies under every published scaling rule.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/architecture.h"

namespace lathe::arch {

// One way to rotate: what layers of a model may differ in.
struct RopeRule {
  std::uint32_t rotary_dim = 0;
  float theta = 10000;
  RopeScaling scaling;
  std::uint32_t trained_context = 0;
  friend bool operator==(const RopeRule&, const RopeRule&) = default;
};

// The rule of a layer; layers with a window may have one of their own (Architecture::window_rope_theta).
RopeRule rope_rule(const Architecture& architecture, std::uint32_t layer);

struct RopeFrequencies {
  std::vector<float> inv_freq;  // rotary_dim / 2 angles per position, radians
  float mscale = 1;             // multiplies cos and sin
};

// For a session of `context` tokens (dynamic NTK and LongRope depend on it; a session keeps one value for its whole
// life, so that cached keys stay valid).
//   base:     theta^(-2i/d)                                                (Su et al. 2021, RoFormer, section 3.2.2)
//   linear:   divided by factor                                             (Chen et al. 2023, Position Interpolation)
//   dynamic:  theta grows with context / original                           (NTK-aware interpolation, bloc97 2023)
//   YaRN:     per-frequency ramp between the two, mscale 0.1 ln s + 1       (Peng et al. 2023, section 3)
//   Llama 3:  low frequencies divided, high kept, smooth in between         (Llama 3.1 model card)
//   LongRope: searched per-frequency factors, sqrt(1 + ln s / ln original)  (Ding et al. 2024); s is context_length /
//             original_context where that is known, otherwise the factor
RopeFrequencies rope_frequencies(const RopeRule& rule, std::uint32_t context);
// Of the model's own base and scaling.
RopeFrequencies rope_frequencies(const Architecture& architecture, std::uint32_t context);

}  // namespace lathe::arch
