#include "serve/reasoning.h"

#include <algorithm>
#include <array>

namespace lathe::serve {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

void drop_leading_space(std::string& text) { text.erase(0, std::min(text.find_first_not_of(kSpace), text.size())); }

}  // namespace

ReasoningTags reasoning_tags_of(std::string_view chat_template) {
  static constexpr std::array<std::array<std::string_view, 2>, 4> kKnown = {{{"<think>", "</think>"},
                                                                             {"<thinking>", "</thinking>"},
                                                                             {"<reasoning>", "</reasoning>"},
                                                                             {"[THINK]", "[/THINK]"}}};
  for (const auto& [open, close] : kKnown) {
    if (chat_template.find(close) != std::string_view::npos) return {std::string(open), std::string(close)};
  }
  return {};
}

std::size_t partial_match(std::string_view text, std::string_view tag) {
  for (std::size_t size = std::min(text.size(), tag.empty() ? 0 : tag.size() - 1); size > 0; --size) {
    if (tag.starts_with(text.substr(text.size() - size))) return size;
  }
  return 0;
}

ReasoningSplitter::ReasoningSplitter(ReasoningTags tags, bool inside)
    : tags_(std::move(tags)),
      state_(!tags_.any() ? State::kContent
             : inside     ? State::kReasoning
                          : State::kStart) {}

ReasoningSplitter::Parts ReasoningSplitter::push(std::string_view text) {
  Parts parts;
  held_ += text;
  if (state_ == State::kStart) {
    const std::size_t begin = std::min(held_.find_first_not_of(kSpace), held_.size());
    const std::string_view rest = std::string_view(held_).substr(begin);
    if (rest.starts_with(tags_.open)) {
      held_.erase(0, begin + tags_.open.size());
      state_ = State::kReasoning;
    } else if (tags_.open.starts_with(rest)) {
      return parts;  // it may still become the tag
    } else {
      state_ = State::kContent;
    }
  }
  if (state_ == State::kReasoning) {
    const std::size_t end = held_.find(tags_.close);
    if (end == std::string::npos) {
      const std::size_t keep = partial_match(held_, tags_.close);
      parts.reasoning = held_.substr(0, held_.size() - keep);
      held_.erase(0, parts.reasoning.size());
      return parts;
    }
    parts.reasoning = held_.substr(0, end);
    held_.erase(0, end + tags_.close.size());
    state_ = State::kAfter;
  }
  if (state_ == State::kAfter) {  // white space between the two belongs to neither
    drop_leading_space(held_);
    if (held_.empty()) return parts;
    state_ = State::kContent;
  }
  parts.content = std::move(held_);
  held_.clear();
  return parts;
}

ReasoningSplitter::Parts ReasoningSplitter::flush() {
  Parts parts;
  (state_ == State::kReasoning ? parts.reasoning : parts.content) = std::move(held_);
  held_.clear();
  return parts;
}

}  // namespace lathe::serve
