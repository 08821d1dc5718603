#include "engine/sampling/truncation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lathe::engine::sampling {

void keep_typical(Candidates& candidates, double p) {
  const std::vector<double> probability = probabilities(candidates);
  double entropy = 0;
  for (const double q : probability) entropy -= q > 0 ? q * std::log(q) : 0;
  std::vector<double> distance(candidates.size());
  for (std::size_t i = 0; i < distance.size(); ++i) distance[i] = std::abs(-std::log(probability[i]) - entropy);
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return distance[a] < distance[b]; });
  double sum = 0;
  std::size_t keep = 0;
  while (keep < order.size() && sum < p) sum += probability[order[keep++]];
  order.resize(keep);
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < keep; ++i) candidates[i] = candidates[order[i]];
  candidates.resize(keep);
}

void keep_top_p(Candidates& candidates, double p) {
  const std::vector<double> probability = probabilities(candidates);
  double sum = 0;
  std::size_t keep = 0;
  while (keep < candidates.size() && sum < p) sum += probability[keep++];
  candidates.resize(keep);
}

void keep_min_p(Candidates& candidates, double p) {
  const std::vector<double> probability = probabilities(candidates);
  std::size_t keep = 1;
  while (keep < candidates.size() && probability[keep] >= p * probability[0]) ++keep;
  candidates.resize(keep);
}

}  // namespace lathe::engine::sampling
