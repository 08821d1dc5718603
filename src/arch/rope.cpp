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
double yarn_index(double rotations, const RopeRule& rule, double original) {
  return rule.rotary_dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(double{rule.theta}));
}

void apply_yarn(const RopeRule& rule, double original, RopeFrequencies& result) {
  const RopeScaling& scaling = rule.scaling;
  double low = yarn_index(scaling.beta_fast, rule, original), high = yarn_index(scaling.beta_slow, rule, original);
  if (scaling.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(0.0, low), high = std::min(rule.rotary_dim - 1.0, high);
  for (std::uint32_t i = 0; i < result.inv_freq.size(); ++i) {
    const double ramp = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
    const double frequency = base_frequency(rule.theta, i, rule.rotary_dim);
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

RopeRule rope_rule(const Architecture& a, std::uint32_t layer) {
  if (a.window_rope_theta > 0 && a.layer_window(layer) > 0) {
    return {a.rotary_dim, a.window_rope_theta, {}, a.context_length};
  }
  return {a.rotary_dim, a.rope_theta, a.rope_scaling, a.context_length};
}

RopeFrequencies rope_frequencies(const RopeRule& rule, std::uint32_t context) {
  const RopeScaling& scaling = rule.scaling;
  const double original = scaling.original_context > 0 ? scaling.original_context : rule.trained_context;
  RopeFrequencies result;
  result.inv_freq.resize(rule.rotary_dim / 2);
  double theta = rule.theta;
  if (scaling.kind == Kind::kDynamicNtk && context > original) {
    const double stretch = scaling.factor * context / original - (scaling.factor - 1);
    theta *= std::pow(stretch, double(rule.rotary_dim) / (rule.rotary_dim - 2.0));
  }
  const std::vector<float>* factors = nullptr;
  if (scaling.kind == Kind::kFactors) factors = &scaling.short_factors;
  if (scaling.kind == Kind::kLongRope) factors = context > original ? &scaling.long_factors : &scaling.short_factors;
  for (std::uint32_t i = 0; i < result.inv_freq.size(); ++i) {
    double frequency = base_frequency(theta, i, rule.rotary_dim);
    if (scaling.kind == Kind::kLinear) frequency /= scaling.factor;
    if (scaling.kind == Kind::kLlama3) frequency = llama3_frequency(frequency, scaling, original);
    if (factors != nullptr) frequency /= (*factors)[i];
    result.inv_freq[i] = static_cast<float>(frequency);
  }
  if (scaling.kind == Kind::kYarn) apply_yarn(rule, original, result);
  if (scaling.kind == Kind::kLongRope) {
    result.mscale =
        longrope_mscale(original, scaling.original_context > 0 ? rule.trained_context / original : scaling.factor);
  }
  if (scaling.attention_factor > 0) result.mscale = scaling.attention_factor;
  return result;
}

RopeFrequencies rope_frequencies(const Architecture& a, std::uint32_t context) {
  return rope_frequencies({a.rotary_dim, a.rope_theta, a.rope_scaling, a.context_length}, context);
}

}  // namespace lathe::arch
