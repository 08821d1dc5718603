// From logits to the next token. The chain runs in this order: logit bias, repeat penalty, top-k, top-p, min-p,
// temperature, draw; each stage with a neutral setting is skipped. Temperature 0 takes the largest logit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "api/generator.h"

namespace lathe::engine {

// Throws UsageError naming the setting that can never work (negative temperature, top_p of 0, an unknown id, ...).
void validate(const api::SamplingParams& params, std::size_t vocab_size);

class Sampler {
 public:
  explicit Sampler(const api::SamplingParams& params);

  // `history`: prompt and generated tokens so far, for the repeat penalty. The n-th draw depends only on the seed, n
  // and the logits. Throws Error when no logit is a number.
  text::TokenId sample(std::span<const float> logits, std::span<const text::TokenId> history);

 private:
  struct Candidate {
    float logit;
    text::TokenId id;
  };
  void adjust(std::span<const float> logits, std::span<const text::TokenId> history);
  text::TokenId largest() const;
  void select_sorted();
  void softmax_sorted();
  void keep_top_p();
  void keep_min_p();
  text::TokenId draw();
  double uniform();

  api::SamplingParams params_;
  std::uint64_t random_state_;
  std::vector<float> adjusted_;  // logits after bias and penalty
  std::vector<Candidate> candidates_;
  std::vector<float> probabilities_;  // of candidates_, in their order
};

// Natural-log probabilities of `id` and of the `count` most likely tokens under softmax(logits).
api::GeneratedToken token_logprobs(std::span<const float> logits, text::TokenId id, int count);

}  // namespace lathe::engine
