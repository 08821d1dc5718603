// Constrained decoding: the grammar or JSON Schema of a request as a LogitsProcessor that forbids every token after
// which the text could no longer be completed.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "api/generator.h"
#include "engine/logits_processor.h"

namespace lathe::text::grammar {
class TokenMasks;
class Vocabulary;
}  // namespace lathe::text::grammar

namespace lathe::engine {

// What a session's constrained requests share: the vocabulary as a trie, and recently used grammars with their masks.
// Thread-safe.
class Constraints {
 public:
  explicit Constraints(std::shared_ptr<const text::Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}

  // Null when the request has neither grammar nor json_schema. Throws Error for a grammar or schema that cannot be
  // used, UsageError for a request that has both.
  std::unique_ptr<LogitsProcessor> processor_for(const api::GenerateRequest& request);

 private:
  struct Entry {
    bool is_schema;
    std::string text;
    api::GrammarFrame frame;
    std::shared_ptr<text::grammar::TokenMasks> masks;
  };
  std::shared_ptr<text::grammar::TokenMasks> masks_for(const api::GenerateRequest& request);

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::mutex mutex_;                                             // guards what follows
  std::shared_ptr<const text::grammar::Vocabulary> vocabulary_;  // made when first needed
  std::deque<Entry> recent_;                                     // the latest first
};

}  // namespace lathe::engine
