// A text cut into windows that a model reads and is scored on, for the verbs that measure how well models predict.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::cli {

// Tokens of a window unless the user says otherwise.
inline constexpr std::uint32_t kUsualWindow = 512;

// What the model reads, and which positions are scored against which token.
struct Window {
  std::vector<text::TokenId> read;
  std::size_t first_scored = 0;         // position in `read` whose output is scored first
  std::vector<text::TokenId> expected;  // token after each scored position
};

// Windows of `length` tokens that follow one another, each begun by BOS if the model uses one; every token but the
// first of a window is scored.
std::vector<Window> plain_windows(const std::vector<text::TokenId>& ids, std::size_t length, text::TokenId bos);

// llama.cpp's perplexity tool: whole windows of `length` tokens, BOS written over the first token of each, and only the
// second half scored: positions length/2 .. length-2, against the text's own next token.
std::vector<Window> peer_windows(const std::vector<text::TokenId>& ids, std::size_t length, text::TokenId bos);

// -log softmax(logits)[id], in double.
double negative_log_likelihood(std::span<const float> logits, text::TokenId id);

}  // namespace lathe::cli
