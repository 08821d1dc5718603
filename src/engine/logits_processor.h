// A say in what may be generated next, before the samplers choose: grammars, and whatever else changes logits with
// knowledge of the text so far. The scheduler owns one per sequence.
#pragma once

#include <cstdint>
#include <span>

#include "text/tokenizer.h"

namespace lathe::engine {

class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  // Changes the logits [vocabulary] of the next token; -infinity forbids one. `history` is the prompt and what has been
  // generated. Throws Error, which ends the request, when no token can follow.
  virtual void process(std::span<float> logits, std::span<const text::TokenId> history) = 0;
  // The token that was chosen.
  virtual void accept(text::TokenId id) = 0;
  // Where the text stands, to come back to with go_to() after accept()ing on trial (drafts) or along several ways
  // (beams). Holds until drop_places().
  using Place = std::uint64_t;
  virtual Place place() = 0;
  virtual void go_to(Place place) = 0;
  virtual void drop_places() = 0;
  // It decides what follows; one that waits for a text to be generated does not yet.
  virtual bool holds() const { return true; }
  // The text is whole and nothing may follow: generation ends as if by an end token.
  virtual bool finished() const { return false; }
};

}  // namespace lathe::engine
