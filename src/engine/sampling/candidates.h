// The tokens still in the running while samplers cut the list down, and what every cut needs: order and probabilities.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::engine::sampling {

struct Candidate {
  float logit;
  text::TokenId id;
};

// Sorted: most likely first, ties by id, so that no result depends on the sort.
using Candidates = std::vector<Candidate>;

// Every token whose logit is a number above -infinity, unsorted.
void take_all(Candidates& candidates, std::span<const float> logits);
// The `k` most likely of those (0: all), sorted. One pass over the vocabulary with a heap of k.
void take_top_k(Candidates& candidates, std::span<const float> logits, std::size_t k);

// Softmax over the candidates, of logits divided by `temperature`. A logit of +infinity (a forced token) takes
// everything. `candidates` must not be empty; any order.
std::vector<double> probabilities(std::span<const Candidate> candidates, double temperature = 1);

}  // namespace lathe::engine::sampling
