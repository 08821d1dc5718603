#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "engine/sampling/draw.h"
#include "engine/sampling/penalties.h"
#include "engine/sampling/truncation.h"

namespace lathe::engine {
namespace {

[[noreturn]] void refuse(std::string_view setting, double value, std::string_view expected) {
  throw UsageError(fmt::format("{} is {}, expected {}", setting, value, expected), "sampling");
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// No token is left: the bias' doing when it forbids some and, before it, some could follow.
[[noreturn]] void refuse_all(std::span<const float> logits, const api::SamplingParams& params) {
  const bool forbids = std::any_of(params.logit_bias.begin(), params.logit_bias.end(),
                                   [](const auto& one) { return one.second == -kInfinity; });
  if (forbids && std::any_of(logits.begin(), logits.end(), [](float logit) { return logit > -kInfinity; })) {
    throw UsageError("no token can follow: the logit bias forbids every one that could", "sampling",
                     "leave one of them without a bias of -inf");
  }
  throw Error("no token can follow: every logit is NaN or -infinity", "sampling", "the weights may be damaged");
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const float logit : logits) most = std::max(most, double{logit});
  for (const float logit : logits) sum += std::exp(double{logit} - most);
  return most + std::log(sum);
}

void validate(const api::SamplingParams& p, std::size_t vocab_size) {
  const auto at_least_0 = [](std::string_view setting, double value, std::string_view expected) {
    if (!(value >= 0) || !std::isfinite(value)) refuse(setting, value, expected);
  };
  const auto above_0 = [](std::string_view setting, double value, double most, std::string_view expected) {
    if (!(value > 0 && value <= most)) refuse(setting, value, expected);
  };
  constexpr double kMost = std::numeric_limits<float>::max();
  at_least_0("temperature", p.temperature, "0 or more");
  at_least_0("top_k", p.top_k, "0 (all) or more");
  above_0("top_p", p.top_p, 1, "above 0, at most 1");
  above_0("typical_p", p.typical_p, 1, "above 0, at most 1");
  if (!(p.min_p >= 0 && p.min_p <= 1)) refuse("min_p", p.min_p, "0 to 1");
  above_0("repeat_penalty", p.repeat_penalty, kMost, "above 0 (1 is none)");
  at_least_0("repeat_window", p.repeat_window, "0 or more");
  if (!std::isfinite(p.presence_penalty)) refuse("presence_penalty", p.presence_penalty, "a number");
  if (!std::isfinite(p.frequency_penalty)) refuse("frequency_penalty", p.frequency_penalty, "a number");
  if (p.mirostat < 0 || p.mirostat > 2) refuse("mirostat", p.mirostat, "0 (off), 1 or 2");
  above_0("mirostat_tau", p.mirostat_tau, kMost, "above 0");
  above_0("mirostat_eta", p.mirostat_eta, kMost, "above 0");
  std::unordered_map<text::TokenId, float> biases;  // a token may have several, which add up
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || static_cast<std::size_t>(id) >= vocab_size)
      refuse("a logit_bias token id", id, "an id of the vocabulary");
    if (std::isnan(bias)) refuse("a logit_bias", bias, "a number");
    if (std::isnan(biases[id] += bias)) {
      throw UsageError(fmt::format("the logit_bias of token {} is both inf and -inf", id), "sampling",
                       "force the token or forbid it");
    }
  }
}

Sampler::Sampler(const api::SamplingParams& params, std::size_t prompt_tokens)
    : params_(params), prompt_tokens_(prompt_tokens), random_state_(params.seed) {
  if (params.mirostat > 0) mirostat_.emplace(params.mirostat, params.mirostat_tau, params.mirostat_eta);
}

Sampler Sampler::fork() const {
  Sampler copy(params_, prompt_tokens_);
  copy.random_state_ = random_state_;
  copy.mirostat_ = mirostat_;
  return copy;
}

text::TokenId Sampler::sample(std::span<const float> logits, std::span<const text::TokenId> history) {
  adjust(logits, history);
  if (params_.temperature == 0) {
    const text::TokenId id = largest();
    if (id == text::kNoToken) refuse_all(logits, params_);
    return id;
  }
  cut();
  if (candidates_.empty()) refuse_all(logits, params_);
  const text::TokenId id = sampling::draw(candidates_, params_.temperature, sampling::next_random(random_state_));
  if (mirostat_) mirostat_->observe(id);
  return id;
}

// Copies the logits, biased and penalised.
void Sampler::adjust(std::span<const float> logits, std::span<const text::TokenId> history) {
  adjusted_.assign(logits.begin(), logits.end());
  sampling::add_bias(adjusted_, params_.logit_bias);
  if (params_.repeat_penalty != 1) {
    const std::size_t recent = std::min(history.size(), static_cast<std::size_t>(params_.repeat_window));
    sampling::penalise_repeats(adjusted_, history.last(recent), params_.repeat_penalty);
  }
  if (params_.presence_penalty != 0 || params_.frequency_penalty != 0) {
    sampling::penalise_counts(adjusted_, history.subspan(std::min(prompt_tokens_, history.size())),
                              params_.presence_penalty, params_.frequency_penalty);
  }
}

// kNoToken when no logit is a number above -infinity.
text::TokenId Sampler::largest() const {
  text::TokenId best = text::kNoToken;
  float most = -kInfinity;
  for (std::size_t id = 0; id < adjusted_.size(); ++id) {
    if (adjusted_[id] > most) {  // never true for NaN
      most = adjusted_[id];
      best = static_cast<text::TokenId>(id);
    }
  }
  return best;
}

// Fills candidates_ with what is left to draw from; nothing when no logit is a number above -infinity.
void Sampler::cut() {
  const bool typical = params_.typical_p < 1, top_p = params_.top_p<1, min_p = params_.min_p> 0;
  if (mirostat_) {
    sampling::take_top_k(candidates_, adjusted_, 0);
  } else if (params_.top_k > 0 || typical || top_p || min_p) {
    sampling::take_top_k(candidates_, adjusted_, static_cast<std::size_t>(params_.top_k));
  } else {
    sampling::take_all(candidates_, adjusted_);  // a draw needs no order
  }
  if (candidates_.empty()) return;
  if (mirostat_) return mirostat_->cut(candidates_, adjusted_.size(), params_.temperature);
  if (typical) sampling::keep_typical(candidates_, params_.typical_p);
  if (top_p) sampling::keep_top_p(candidates_, params_.top_p);
  if (min_p) sampling::keep_min_p(candidates_, params_.min_p);
}

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
