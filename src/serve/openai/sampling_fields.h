// The fields that every generating endpoint shares: how tokens are chosen, and what ends the text.
#pragma once

#include "api/generator.h"
#include "serve/models.h"
#include "serve/openai/fields.h"

namespace lathe::serve {

// Sampling, stop texts, logit bias, seed, grammar, adapters, KV policy and priority of a request for `model`; fields
// not given are what the model's files suggest, then OpenAI's defaults (temperature 1, top_p 1). Sets everything but
// prompt, length and log-probabilities.
struct CommonFields {
  api::GenerateRequest request;
  int priority = 0;
  bool stream = false, include_usage = false;
};
CommonFields read_common_fields(Fields& fields, const Lease& lease);

// Bounds of counts that come from requests.
inline constexpr std::int64_t kMostTokens = 1 << 24, kMostChoices = 64, kMostLogprobs = 20;

// The ids of a prompt; 400 when it is empty or leaves no room in the context.
std::vector<text::TokenId> encode_prompt(const Lease& lease, std::string_view text, bool add_special);
void check_prompt(const Lease& lease, const std::vector<text::TokenId>& ids);

// A list of token ids out of a request, each inside the vocabulary.
std::vector<text::TokenId> token_list(const Json& array, const std::string& name, std::size_t vocab);

// {"token", "logprob", "bytes", "top_logprobs"} of each token, as chat completions write them.
Json logprobs_json(std::span<const api::GeneratedToken> tokens, std::size_t top, const text::Tokenizer& tokenizer);

}  // namespace lathe::serve
