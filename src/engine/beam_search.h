// Beam search: the texts a model finds likeliest as a whole, as far as keeping the best few beginnings at every length
// finds them. Beams share the KV blocks of their common past and copy a block when they first differ in it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "api/generator.h"

namespace lathe::engine {

struct BeamOptions {
  std::uint32_t beams = 4;    // beginnings kept at every length
  std::uint32_t results = 1;  // texts to return at most
  // A text of n tokens (its end token counted) with log-probability p scores p / ((5 + n) / 6)^length_penalty (Wu et
  // al. 2016, section 7, equation 14): 0 compares probabilities, more favours longer texts.
  float length_penalty = 0.6f;
};

struct BeamResult {
  api::GenerateResult result;
  double logprob = 0, score = 0;
};

// Throws UsageError naming an option that cannot be.
void validate(const BeamOptions& options);

// The score of a finished text.
double beam_score(double logprob, std::size_t length, double length_penalty);

}  // namespace lathe::engine
