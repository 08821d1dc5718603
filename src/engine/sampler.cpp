#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "base/error.h"

namespace lathe::engine {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): one multiply-and-shift chain per draw, any seed is a good one.
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

[[noreturn]] void refuse(std::string_view setting, double value, std::string_view expected) {
  throw UsageError(fmt::format("{} is {}, expected {}", setting, value, expected), "sampling");
}

[[noreturn]] void refuse_all() {
  throw Error("no token can follow: every logit is NaN or -infinity", "sampling", "the weights may be damaged");
}

double log_sum_exp(std::span<const float> logits) {
  float most = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) most = std::max(most, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - most));
  return most + std::log(sum);
}

}  // namespace

void validate(const api::SamplingParams& p, std::size_t vocab_size) {
  if (!(p.temperature >= 0) || !std::isfinite(p.temperature)) refuse("temperature", p.temperature, "0 or more");
  if (p.top_k < 0) refuse("top_k", p.top_k, "0 (all) or more");
  if (!(p.top_p > 0 && p.top_p <= 1)) refuse("top_p", p.top_p, "above 0, at most 1");
  if (!(p.min_p >= 0 && p.min_p <= 1)) refuse("min_p", p.min_p, "0 to 1");
  if (!(p.repeat_penalty > 0) || !std::isfinite(p.repeat_penalty))
    refuse("repeat_penalty", p.repeat_penalty, "above 0 (1 is none)");
  if (p.repeat_window < 0) refuse("repeat_window", p.repeat_window, "0 or more");
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || static_cast<std::size_t>(id) >= vocab_size)
      refuse("a logit_bias token id", id, "an id of the vocabulary");
    if (std::isnan(bias)) refuse("a logit_bias", bias, "a number");
  }
}

Sampler::Sampler(const api::SamplingParams& params) : params_(params), random_state_(params.seed) {}

text::TokenId Sampler::sample(std::span<const float> logits, std::span<const text::TokenId> history) {
  adjust(logits, history);
  if (params_.temperature == 0) return largest();
  select_sorted();
  softmax_sorted();
  keep_top_p();
  keep_min_p();
  return draw();
}

// Copies the logits, biased and penalised.
void Sampler::adjust(std::span<const float> logits, std::span<const text::TokenId> history) {
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params_.logit_bias) adjusted_[static_cast<std::size_t>(id)] += bias;
  if (params_.repeat_penalty == 1) return;
  const std::size_t recent = std::min(history.size(), static_cast<std::size_t>(params_.repeat_window));
  const std::unordered_set<text::TokenId> seen(history.end() - static_cast<std::ptrdiff_t>(recent), history.end());
  for (const text::TokenId id : seen) {
    if (id < 0 || static_cast<std::size_t>(id) >= adjusted_.size()) continue;
    float& logit = adjusted_[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
  }
}

text::TokenId Sampler::largest() const {
  text::TokenId best = text::kNoToken;
  float most = -std::numeric_limits<float>::infinity();
  for (std::size_t id = 0; id < adjusted_.size(); ++id) {
    if (adjusted_[id] > most) {  // never true for NaN
      most = adjusted_[id];
      best = static_cast<text::TokenId>(id);
    }
  }
  if (best == text::kNoToken) refuse_all();
  return best;
}

// Fills candidates_ with the top_k tokens (or all) whose logit is a number above -infinity, most likely first, ties by
// id, so that results never depend on the sort. One pass over the vocabulary with a heap of k.
void Sampler::select_sorted() {
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  const std::size_t k = params_.top_k == 0 ? adjusted_.size() : static_cast<std::size_t>(params_.top_k);
  candidates_.clear();
  float threshold = -std::numeric_limits<float>::infinity();
  for (std::size_t id = 0; id < adjusted_.size(); ++id) {
    if (!(adjusted_[id] > threshold)) continue;
    candidates_.push_back({adjusted_[id], static_cast<text::TokenId>(id)});
    if (candidates_.size() < k) continue;
    if (candidates_.size() == k) {
      if (k == adjusted_.size()) continue;
      std::make_heap(candidates_.begin(), candidates_.end(), better);
    } else {
      std::push_heap(candidates_.begin(), candidates_.end(), better);
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.pop_back();
    }
    threshold = candidates_.front().logit;
  }
  if (candidates_.empty()) refuse_all();
  std::sort(candidates_.begin(), candidates_.end(), better);
}

void Sampler::softmax_sorted() {
  probabilities_.resize(candidates_.size());
  double sum = 0;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    // +infinity (a forced token) stands first and takes everything.
    const float difference =
        candidates_[i].logit == candidates_[0].logit ? 0 : candidates_[i].logit - candidates_[0].logit;
    sum += probabilities_[i] = std::exp(difference);
  }
  for (float& p : probabilities_) p = static_cast<float>(p / sum);
}

// The smallest set of most likely tokens whose probability reaches top_p (Holtzman et al. 2020, nucleus sampling).
void Sampler::keep_top_p() {
  if (params_.top_p >= 1) return;
  double sum = 0;
  std::size_t keep = 0;
  while (keep < probabilities_.size() && sum < params_.top_p) sum += probabilities_[keep++];
  candidates_.resize(keep);
  probabilities_.resize(keep);
}

// Tokens at least min_p times as likely as the most likely one (Nguyen et al. 2024).
void Sampler::keep_min_p() {
  if (params_.min_p <= 0) return;
  std::size_t keep = 1;
  while (keep < probabilities_.size() && probabilities_[keep] >= params_.min_p * probabilities_[0]) ++keep;
  candidates_.resize(keep);
  probabilities_.resize(keep);
}

text::TokenId Sampler::draw() {
  double sum = 0;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    const float difference =
        candidates_[i].logit == candidates_[0].logit ? 0 : candidates_[i].logit - candidates_[0].logit;
    sum += probabilities_[i] = std::exp(difference / params_.temperature);
  }
  double rest = uniform() * sum;
  for (std::size_t i = 0; i + 1 < candidates_.size(); ++i) {
    rest -= probabilities_[i];
    if (rest < 0) return candidates_[i].id;
  }
  return candidates_.back().id;
}

double Sampler::uniform() { return static_cast<double>(next_random(random_state_) >> 11) * 0x1p-53; }

api::GeneratedToken token_logprobs(std::span<const float> logits, text::TokenId id, int count) {
  const double normaliser = log_sum_exp(logits);
  api::GeneratedToken token{id, static_cast<float>(logits[static_cast<std::size_t>(id)] - normaliser), {}};
  std::vector<api::TokenLogprob> all(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    all[i] = {static_cast<text::TokenId>(i), static_cast<float>(logits[i] - normaliser)};
  const std::size_t keep = std::min(all.size(), static_cast<std::size_t>(std::max(0, count)));
  std::partial_sort(
      all.begin(), all.begin() + static_cast<std::ptrdiff_t>(keep), all.end(),
      [](const auto& a, const auto& b) { return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id); });
  token.alternatives.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(keep));
  return token;
}

}  // namespace lathe::engine
