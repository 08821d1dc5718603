#include "kernels/cpu/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace lathe::kernels::cpu {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// exp(x - max) / sum
void softmax(std::span<const float> in, float* out) {
  float largest = kNever;
  for (const float x : in) largest = std::fmax(largest, x);
  double sum = 0;
  for (std::size_t i = 0; i < in.size(); ++i) sum += out[i] = std::exp(in[i] - largest);
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = static_cast<float>(out[i] / sum);
}

// What a group is worth: its best rank, or with a correction the sum of its two best (DeepSeek-V3, section 2.1.2).
float group_worth(std::span<const float> ranks, bool two_best) {
  float first = kNever, second = kNever;
  for (const float rank : ranks) {
    if (rank > first) {
      second = first, first = rank;
    } else if (rank > second) {
      second = rank;
    }
  }
  return two_best ? first + second : first;
}

// Takes every group but the best top_groups out of the choice.
void limit_groups(const RouterParams& params, std::span<float> ranks) {
  const std::size_t size = ranks.size() / params.n_groups;
  const auto worth = [&](std::size_t group) {
    return group_worth(ranks.subspan(group * size, size), params.correction != nullptr);
  };
  std::vector<std::pair<float, std::size_t>> groups;
  for (std::size_t group = 0; group < params.n_groups; ++group) groups.emplace_back(-worth(group), group);
  std::sort(groups.begin(), groups.end());  // the best first, the lowest number on a tie
  for (std::size_t i = params.top_groups; i < groups.size(); ++i) {
    std::fill_n(ranks.begin() + static_cast<std::ptrdiff_t>(groups[i].second * size), size, kNever);
  }
}

}  // namespace

void route_row(const RouterParams& params, std::span<const float> logits, float* weights, std::int32_t* experts,
               float* scratch) {
  const std::size_t n = logits.size();
  const std::span<float> scores(scratch, n), ranks(scratch + n, n);
  switch (params.score) {
    case RouterScore::kSoftmax:
      softmax(logits, scores.data());
      break;
    case RouterScore::kSigmoid:
      for (std::size_t i = 0; i < n; ++i) scores[i] = 1 / (1 + std::exp(-logits[i]));
      break;
    case RouterScore::kSoftmaxOfChosen:
      std::copy(logits.begin(), logits.end(), scores.begin());
      break;
  }
  for (std::size_t i = 0; i < n; ++i) {
    ranks[i] = params.correction ? scores[i] + params.correction[i] : scores[i];
    if (!(ranks[i] >= std::numeric_limits<float>::lowest())) ranks[i] = std::numeric_limits<float>::lowest();
  }
  if (params.n_groups > params.top_groups) limit_groups(params, ranks);
  for (std::uint32_t k = 0; k < params.top_k; ++k) {
    const std::size_t best = static_cast<std::size_t>(std::max_element(ranks.begin(), ranks.end()) - ranks.begin());
    experts[k] = static_cast<std::int32_t>(best);
    weights[k] = scores[best];
    ranks[best] = kNever;
  }
  if (params.score == RouterScore::kSoftmaxOfChosen) softmax(std::span(weights, params.top_k), weights);
  float factor = params.scale;
  if (params.normalize) {
    double sum = 1e-20;
    for (std::uint32_t k = 0; k < params.top_k; ++k) sum += weights[k];
    factor = static_cast<float>(factor / sum);
  }
  for (std::uint32_t k = 0; k < params.top_k; ++k) weights[k] *= factor;
}

}  // namespace lathe::kernels::cpu
