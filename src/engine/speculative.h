// Speculative decoding (Leviathan et al. 2023; Chen et al. 2023): something cheap guesses the next few tokens, and one
// pass of the model checks them all. A guess is right when it is the very token that the text's own sampler chooses
// from the model's own logits, so that the text is byte for byte the one written without guesses, under greedy
// decoding, sampling, mirostat, penalties and grammars alike. A drafter guesses with a copy of that sampler: sharing
// its randomness, it is right almost as often as the two distributions overlap (engine/sampling/draw.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/logits_processor.h"
#include "engine/runtime.h"
#include "engine/sampler.h"
#include "model/adapter.h"
#include "model/model.h"

namespace lathe::engine {

// What a drafter remembers of one text from guess to guess.
class DraftState {
 public:
  virtual ~DraftState() = default;
};

// One text that wants a guess.
struct DraftTask {
  DraftState* state = nullptr;            // from the same drafter's begin()
  std::span<const text::TokenId> tokens;  // prompt and what was generated
  std::size_t most = 0;                   // tokens to guess at most, above 0
  Sampler sampler;                        // a copy of the text's own
  LogitsProcessor* processor = nullptr;   // the text's own, left as it was found; may be null
  std::span<const model::Adapter* const> adapters;
  std::vector<text::TokenId> draft;  // the guess; may stay empty
};

// Used by one thread at a time.
class Drafter {
 public:
  virtual ~Drafter() = default;
  virtual std::unique_ptr<DraftState> begin() = 0;  // may be null
  // Fills in every task's draft. End-of-generation tokens are not guessed.
  virtual void draft(std::span<DraftTask> tasks) = 0;
};

// What follows the last occurrence of the text's own last tokens: no model, good at text that repeats its prompt
// (prompt lookup, Saxena 2023).
std::unique_ptr<Drafter> ngram_drafter();

// A small model of the same vocabulary, or with `layers` above 0 the first layers of the model itself, its final norm
// and head behind them. `vocabulary` is the size of the model's, `limits` are those of its session.
std::unique_ptr<Drafter> model_drafter(const std::shared_ptr<model::Model>& model,
                                       std::shared_ptr<const text::Tokenizer> tokenizer, std::uint32_t layers,
                                       std::uint32_t vocabulary, const SessionOptions& limits);

// The drafter of SessionOptions::draft for a session of `model`; null for none. Throws UsageError for a draft that
// cannot guess for it, saying why (another vocabulary, too many layers).
std::unique_ptr<Drafter> make_drafter(const SessionOptions& options, const std::shared_ptr<model::Model>& model,
                                      const std::shared_ptr<const text::Tokenizer>& tokenizer);

}  // namespace lathe::engine
