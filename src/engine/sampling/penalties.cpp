#include "engine/sampling/penalties.h"

#include <unordered_map>
#include <unordered_set>

namespace lathe::engine::sampling {

void add_bias(std::span<float> logits, std::span<const std::pair<text::TokenId, float>> bias) {
  for (const auto& [id, value] : bias) logits[static_cast<std::size_t>(id)] += value;
}

void penalise_repeats(std::span<float> logits, std::span<const text::TokenId> recent, float penalty) {
  const std::unordered_set<text::TokenId> seen(recent.begin(), recent.end());
  for (const text::TokenId id : seen) {
    if (static_cast<std::size_t>(id) >= logits.size()) continue;
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

void penalise_counts(std::span<float> logits, std::span<const text::TokenId> generated, float presence,
                     float frequency) {
  std::unordered_map<text::TokenId, int> counts;
  for (const text::TokenId id : generated) ++counts[id];
  for (const auto& [id, count] : counts) {
    if (static_cast<std::size_t>(id) < logits.size())
      logits[static_cast<std::size_t>(id)] -= presence + static_cast<float>(count) * frequency;
  }
}

}  // namespace lathe::engine::sampling
