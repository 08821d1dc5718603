#include "engine/sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lathe::engine::sampling {
namespace {

constexpr float kLeast = -std::numeric_limits<float>::infinity();

bool better(const Candidate& a, const Candidate& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

}  // namespace

void take_all(Candidates& candidates, std::span<const float> logits) {
  candidates.clear();
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] > kLeast) candidates.push_back({logits[id], static_cast<text::TokenId>(id)});  // never true for NaN
  }
}

void take_top_k(Candidates& candidates, std::span<const float> logits, std::size_t k) {
  if (k == 0 || k >= logits.size()) {
    take_all(candidates, logits);
  } else {
    candidates.clear();
    float threshold = kLeast;
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (!(logits[id] > threshold)) continue;
      candidates.push_back({logits[id], static_cast<text::TokenId>(id)});
      if (candidates.size() < k) continue;
      if (candidates.size() == k) {
        std::make_heap(candidates.begin(), candidates.end(), better);
      } else {
        std::push_heap(candidates.begin(), candidates.end(), better);
        std::pop_heap(candidates.begin(), candidates.end(), better);
        candidates.pop_back();
      }
      threshold = candidates.front().logit;
    }
  }
  std::sort(candidates.begin(), candidates.end(), better);
}

std::vector<double> probabilities(std::span<const Candidate> candidates, double temperature) {
  float most = kLeast;
  for (const Candidate& candidate : candidates) most = std::max(most, candidate.logit);
  std::vector<double> result(candidates.size());
  double sum = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const double below = candidates[i].logit == most ? 0 : double{candidates[i].logit} - most;
    sum += result[i] = std::exp(below / temperature);
  }
  for (double& p : result) p /= sum;
  return result;
}

}  // namespace lathe::engine::sampling
