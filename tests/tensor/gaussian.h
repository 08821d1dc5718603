// Normally distributed numbers, the same for the same seed.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace lathe {

inline std::vector<float> gaussian(std::size_t count, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// As weights are.
inline std::vector<float> gaussian(std::size_t count, unsigned seed) { return gaussian(count, 0.05f, seed); }

}  // namespace lathe
