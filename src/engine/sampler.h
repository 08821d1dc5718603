// From logits to the next token. The chain (each stage a function of engine/sampling/; one with a neutral setting is
// skipped): logit bias, repeat penalty, presence and frequency penalties, top-k, typical, top-p, min-p, temperature,
// draw. Mirostat takes the place of top-k to min-p, after temperature. Temperature 0 takes the largest logit that the
// penalties leave.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "api/generator.h"
#include "engine/sampling/candidates.h"
#include "engine/sampling/mirostat.h"

namespace lathe::engine {

// Throws UsageError naming the setting that can never work (negative temperature, top_p of 0, an unknown id, ...).
void validate(const api::SamplingParams& params, std::size_t vocab_size);

class Sampler {
 public:
  // The first `prompt_tokens` of every history were not generated: presence and frequency do not count them.
  explicit Sampler(const api::SamplingParams& params, std::size_t prompt_tokens = 0);

  // `history`: prompt and generated tokens so far, for the penalties. The n-th choice depends only on the seed, n, the
  // logits, and with mirostat on earlier choices. Throws Error when no logit is a number, UsageError when the bias
  // forbids those that are.
  text::TokenId sample(std::span<const float> logits, std::span<const text::TokenId> history);
  // Another that goes on from the same place: a draft guesses with it what this one will choose.
  Sampler fork() const;

 private:
  void adjust(std::span<const float> logits, std::span<const text::TokenId> history);
  text::TokenId largest() const;
  void cut();

  api::SamplingParams params_;
  std::size_t prompt_tokens_;
  std::uint64_t random_state_;
  std::optional<sampling::Mirostat> mirostat_;
  std::vector<float> adjusted_;  // logits after bias and penalties
  sampling::Candidates candidates_;
};

// The logarithm of the sum of exp(logits), in double: what makes logits log-probabilities.
double log_sum_exp(std::span<const float> logits);

// Natural-log probabilities of `id` and of the `count` most likely tokens under softmax(logits).
api::GeneratedToken token_logprobs(std::span<const float> logits, text::TokenId id, int count);

}  // namespace lathe::engine
