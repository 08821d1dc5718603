// RoPE frequencies from the papers' definitions, in other forms than arch/rope.cpp: in turns over the original context
// rather than in indices, by search rather than by logarithms.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "reference/reference_model.h"

namespace lathe::test {
namespace {

using arch::Architecture;
using Kind = arch::RopeScaling::Kind;

double original_context(const Architecture& a) {
  return a.rope_scaling.original_context > 0 ? a.rope_scaling.original_context : a.context_length;
}

double plain(double theta, double i, double dims) { return 1 / std::pow(theta, 2 * i / dims); }

// YaRN: how much of frequency i is kept. Frequencies that make at least beta_fast turns over the original context are
// kept, those that make at most beta_slow are interpolated, and it is linear in the index between.
double yarn_kept(const Architecture& a, std::uint32_t i) {
  const double dims = a.rotary_dim;
  const auto turns = [&](double index) {
    return original_context(a) * plain(a.rope_theta, index, dims) / (2 * std::numbers::pi);
  };
  if (!a.rope_scaling.truncate) {
    // The (fractional) index that makes so many turns, by halving.
    const auto index_of = [&](double wanted) {
      double low = -4 * dims, high = 8 * dims;
      for (int step = 0; step < 200; ++step) (turns((low + high) / 2) >= wanted ? low : high) = (low + high) / 2;
      return low;
    };
    const double first = std::max(0.0, index_of(a.rope_scaling.beta_fast)),
                 last = std::min(dims - 1, index_of(a.rope_scaling.beta_slow));
    return std::clamp((last - i) / std::max(1e-3, last - first), 0.0, 1.0);
  }
  double fast = -1, slow = 0;  // the last index with enough turns, the first with few enough
  while (fast + 1 <= 4 * dims && turns(fast + 1) >= a.rope_scaling.beta_fast) ++fast;
  while (slow <= 4 * dims && turns(slow) > a.rope_scaling.beta_slow) ++slow;
  fast = std::max(fast, 0.0), slow = std::min(slow, dims - 1);
  if (i <= fast) return 1;
  if (i >= slow) return 0;
  return (slow - i) / (slow - fast);
}

// Llama 3: the same idea with a ramp in turns, between low_freq_factor and high_freq_factor of them.
double llama3_kept(const Architecture& a, double frequency) {
  const double turns = original_context(a) * frequency / (2 * std::numbers::pi);
  const auto& scaling = a.rope_scaling;
  return std::clamp((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
}

}  // namespace

double reference_rope_frequency(const Architecture& a, std::uint32_t i, std::uint32_t context) {
  const arch::RopeScaling& s = a.rope_scaling;
  const double f = plain(a.rope_theta, i, a.rotary_dim), original = original_context(a);
  switch (s.kind) {
    case Kind::kNone:
      return f;
    case Kind::kLinear:
      return f / s.factor;
    case Kind::kDynamicNtk: {
      if (context <= original) return f;
      // theta' = theta * stretch^(d / (d - 2)), so frequency i shrinks by stretch^(2i / (d - 2)).
      const double stretch = s.factor * context / original - s.factor + 1;
      return f / std::pow(stretch, 2.0 * i / (a.rotary_dim - 2.0));
    }
    case Kind::kYarn: {
      const double kept = yarn_kept(a, i);
      return f * (kept + (1 - kept) / s.factor);
    }
    case Kind::kLlama3: {
      const double kept = llama3_kept(a, f);
      return f * (kept + (1 - kept) / s.factor);
    }
    case Kind::kLongRope:
      return f / (context > original ? s.long_factors[i] : s.short_factors[i]);
    case Kind::kFactors:
      return f / s.short_factors[i];
  }
  return f;
}

double reference_rope_magnitude(const Architecture& a) {
  const arch::RopeScaling& s = a.rope_scaling;
  if (s.attention_factor > 0) return s.attention_factor;
  if (s.kind == Kind::kYarn) return s.factor <= 1 ? 1 : 1 + std::log(s.factor) / 10;
  if (s.kind == Kind::kLongRope) {
    const double original = original_context(a), stretch = a.context_length / original;
    if (stretch > 1) return std::sqrt(std::log(original * stretch) / std::log(original));
  }
  return 1;
}

}  // namespace lathe::test
