// Splits what a reasoning model writes into its thoughts and its answer, as the text streams.
#pragma once

#include <string>
#include <string_view>

namespace lathe::serve {

struct ReasoningTags {
  std::string open, close;  // both empty: the model has none
  bool any() const { return !open.empty(); }
};

// The tags that a chat template speaks of.
ReasoningTags reasoning_tags_of(std::string_view chat_template);

class ReasoningSplitter {
 public:
  struct Parts {
    std::string reasoning, content;
  };

  // `inside`: the prompt has opened the thoughts already.
  ReasoningSplitter(ReasoningTags tags, bool inside);
  // What can be told now; text that might become a tag is held back. Thoughts are recognised at the start only.
  Parts push(std::string_view text);
  Parts flush();
  bool in_reasoning() const { return state_ == State::kReasoning; }

 private:
  enum class State { kStart, kReasoning, kAfter, kContent };
  ReasoningTags tags_;
  State state_;
  std::string held_;
};

// The length of the longest end of `text` that begins `tag` without being all of it.
std::size_t partial_match(std::string_view text, std::string_view tag);

}  // namespace lathe::serve
