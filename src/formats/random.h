// Random numbers for synthetic models: the same everywhere for the same seed.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace lathe::formats {

// SplitMix64 (Steele et al. 2014): one multiplication chain per number, good enough for made-up weights.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0)
      : state_(mix(seed) ^ mix(stream + 0x9e3779b97f4a7c15u)) {}

  std::uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15u); }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  // In (0, 1].
  float uniform() { return static_cast<float>((next() >> 40) + 1) * 0x1p-24f; }
  // Standard normal (Box and Muller 1958).
  float normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi_v<float> * uniform()); }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  std::uint64_t state_;
};

}  // namespace lathe::formats
