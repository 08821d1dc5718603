// Biases of attention scores by the distance between query and key (T5; Raffel et al. 2020, section 2.1): near
// distances have a bucket each, farther ones share buckets that grow with the logarithm of the distance.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arch/architecture.h"

namespace lathe::arch {

// The bucket of a key `distance` positions after the query. With `bidirectional`, half of the buckets are for keys that
// follow; without, those share the bucket of distance 0.
std::uint32_t relative_bucket(std::int64_t distance, const RelativeBias& relative, bool bidirectional);

// A learned table [buckets, n_heads] spread out to [n_heads, 2 * max_distance + 1]: the bias of every head at distances
// -max_distance to max_distance. Farther keys have that of the end.
std::vector<float> biases_by_distance(std::span<const float> table, std::uint32_t n_heads, const RelativeBias& relative,
                                      bool bidirectional);

}  // namespace lathe::arch
