// One draw from a softmax, such that models that nearly agree draw the same token from the same randomness.
#pragma once

#include <cstdint>

#include "engine/sampling/candidates.h"

namespace lathe::engine::sampling {

// SplitMix64 (Steele, Lea and Flood 2014): one multiply-and-shift chain per number, any seed is a good one.
std::uint64_t next_random(std::uint64_t& state);

// A token with probability softmax(logit / temperature), any order of candidates: an exponential clock per token, and
// the first to ring wins. The clock of a token depends on `key` and its id only, so two distributions that share the
// key draw the same token with probability at least (1 - d) / (1 + d), d being their total variation distance: this is
// what drafts for speculative decoding rely on (Daliri, Musco and Suresh 2024, section 3).
text::TokenId draw(std::span<const Candidate> candidates, double temperature, std::uint64_t key);

}  // namespace lathe::engine::sampling
