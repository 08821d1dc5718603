#include "arch/relative_bias.h"

#include <algorithm>
#include <cmath>

namespace lathe::arch {

std::uint32_t relative_bucket(std::int64_t distance, const RelativeBias& relative, bool bidirectional) {
  const std::uint32_t buckets = bidirectional ? relative.buckets / 2 : relative.buckets;
  const std::uint32_t first = bidirectional && distance > 0 ? buckets : 0;
  const std::uint64_t away =
      static_cast<std::uint64_t>(bidirectional ? std::abs(distance) : -std::min<std::int64_t>(distance, 0));
  const std::uint32_t exact = buckets / 2;  // distances with a bucket of their own
  if (away < exact) return first + static_cast<std::uint32_t>(away);
  // In single precision, as the models were trained.
  const float share = std::log(static_cast<float>(away) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(relative.max_distance) / exact));
  const float bucket = static_cast<float>(exact) + std::floor(share * static_cast<float>(buckets - exact));
  return first + std::min(static_cast<std::uint32_t>(bucket), buckets - 1);
}

std::vector<float> biases_by_distance(std::span<const float> table, std::uint32_t n_heads, const RelativeBias& relative,
                                      bool bidirectional) {
  const std::int64_t span = relative.max_distance;
  std::vector<float> biases;
  biases.reserve(n_heads * static_cast<std::size_t>(2 * span + 1));
  for (std::uint32_t head = 0; head < n_heads; ++head) {
    for (std::int64_t distance = -span; distance <= span; ++distance)
      biases.push_back(table[std::size_t{relative_bucket(distance, relative, bidirectional)} * n_heads + head]);
  }
  return biases;
}

}  // namespace lathe::arch
