#include "arch/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lathe::arch {
namespace {

using Kind = RopeScaling::Kind;

double base_frequency(double theta, std::uint32_t i, std::uint32_t rotary_dim) {
  return std::pow(theta, -2.0 * i / rotary_dim);
}

// The (fractional) index of the frequency that makes `rotations` full turns over the original context.
double yarn_index(double rotations, const Architecture& a, double original) {
  return a.rotary_dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(double{a.rope_theta}));
}

void apply_yarn(const Architecture& a, double original, RopeFrequencies& result) {
  const RopeScaling& scaling = a.rope_scaling;
  const double low = std::max(0.0, std::floor(yarn_index(scaling.beta_fast, a, original)));
  const double high = std::min(a.rotary_dim - 1.0, std::ceil(yarn_index(scaling.beta_slow, a, original)));
  for (std::uint32_t i = 0; i < result.inv_freq.size(); ++i) {
    const double ramp = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
    const double frequency = base_frequency(a.rope_theta, i, a.rotary_dim);
    result.inv_freq[i] = static_cast<float>(frequency / scaling.factor * ramp + frequency * (1 - ramp));
  }
  result.mscale = static_cast<float>(scaling.factor > 1 ? 0.1 * std::log(double{scaling.factor}) + 1 : 1);
}

double llama3_frequency(double frequency, const RopeScaling& scaling, double original) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double low = original / scaling.low_freq_factor, high = original / scaling.high_freq_factor;
  if (wavelength < high) return frequency;
  if (wavelength > low) return frequency / scaling.factor;
  const double smooth =
      (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

float longrope_mscale(double original, double stretch) {
  return static_cast<float>(stretch <= 1 ? 1 : std::sqrt(1 + std::log(stretch) / std::log(original)));
}

}  // namespace

RopeFrequencies rope_frequencies(const Architecture& a, std::uint32_t context) {
  const RopeScaling& scaling = a.rope_scaling;
  const double original = scaling.original_context > 0 ? scaling.original_context : a.context_length;
  RopeFrequencies result;
  result.inv_freq.resize(a.rotary_dim / 2);
  double theta = a.rope_theta;
  if (scaling.kind == Kind::kDynamicNtk && context > original) {
    const double stretch = scaling.factor * context / original - (scaling.factor - 1);
    theta *= std::pow(stretch, double(a.rotary_dim) / (a.rotary_dim - 2.0));
  }
  const std::vector<float>* factors = nullptr;
  if (scaling.kind == Kind::kFactors) factors = &scaling.short_factors;
  if (scaling.kind == Kind::kLongRope) factors = context > original ? &scaling.long_factors : &scaling.short_factors;
  for (std::uint32_t i = 0; i < result.inv_freq.size(); ++i) {
    double frequency = base_frequency(theta, i, a.rotary_dim);
    if (scaling.kind == Kind::kLinear) frequency /= scaling.factor;
    if (scaling.kind == Kind::kLlama3) frequency = llama3_frequency(frequency, scaling, original);
    if (factors != nullptr) frequency /= (*factors)[i];
    result.inv_freq[i] = static_cast<float>(frequency);
  }
  if (scaling.kind == Kind::kYarn) apply_yarn(a, original, result);
  if (scaling.kind == Kind::kLongRope) {
    result.mscale =
        longrope_mscale(original, scaling.original_context > 0 ? a.context_length / original : scaling.factor);
  }
  if (scaling.attention_factor > 0) result.mscale = scaling.attention_factor;
  return result;
}

}  // namespace lathe::arch
