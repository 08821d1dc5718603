#include "engine/sampling/draw.h"

#include <cmath>
#include <limits>

namespace lathe::engine::sampling {
namespace {

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15u;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

std::uint64_t next_random(std::uint64_t& state) { return mix(state += kStep); }

text::TokenId draw(std::span<const Candidate> candidates, double temperature, std::uint64_t key) {
  const std::vector<double> rate = probabilities(candidates, temperature);
  text::TokenId first = candidates.front().id;
  double earliest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::uint64_t bits = mix(key + (static_cast<std::uint64_t>(candidates[i].id) + 1) * kStep);
    const double uniform = static_cast<double>((bits >> 11) + 1) * 0x1p-53;  // in (0, 1]
    const double time = -std::log(uniform) / rate[i];                        // infinite, or NaN, at a rate of 0
    if (time < earliest || (time == earliest && candidates[i].id < first)) {
      earliest = time;
      first = candidates[i].id;
    }
  }
  return first;
}

}  // namespace lathe::engine::sampling
