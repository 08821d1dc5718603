// What applications see of a model that says how likely text is.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::api {

struct TokenScore {
  text::TokenId id = text::kNoToken;
  float logprob = 0;  // natural logarithm, given everything before it
};

class Scorer {
 public:
  virtual ~Scorer() = default;

  // Scores of the tokens of `continuation` after `context`, which is the source text of an encoder-decoder model.
  virtual std::vector<TokenScore> score(const std::string& context, const std::string& continuation) = 0;

  // Raw logits after each of `ids` (positions in `from` and later), position by position; local models only. The span
  // is vocab_size floats, valid during the call.
  virtual void logits(std::span<const text::TokenId> ids, std::size_t from,
                      const std::function<void(std::size_t position, std::span<const float> logits)>& sink) = 0;
};

}  // namespace lathe::api
