#include "text/grammar/vocabulary.h"

#include <algorithm>

#include "base/checked.h"

namespace lathe::text::grammar {

Vocabulary::Vocabulary(const Tokenizer& tokenizer)
    : bytes_(tokenizer.size()), ends_(tokenizer.special().end_of_generation) {
  mark_ends();
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const TokenKind kind = tokenizer.kind(id);
    if (kind != TokenKind::kControl && kind != TokenKind::kUnknown && kind != TokenKind::kUnused &&
        !ends_generation(id))
      bytes_[i] = tokenizer.token_bytes(id);
  }
  build();
}

Vocabulary::Vocabulary(std::vector<std::string> bytes, std::vector<TokenId> end_of_generation)
    : bytes_(std::move(bytes)), ends_(std::move(end_of_generation)) {
  mark_ends();
  build();
}

void Vocabulary::mark_ends() {
  is_end_.assign(bytes_.size(), false);
  for (const TokenId id : ends_) {
    if (static_cast<std::size_t>(id) < is_end_.size()) is_end_[static_cast<std::size_t>(id)] = true;
  }
}

void Vocabulary::build() {
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    if (!bytes_[i].empty()) tokens_.push_back(static_cast<TokenId>(i));
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](TokenId a, TokenId b) {
    const int order = bytes(a).compare(bytes(b));
    return order < 0 || (order == 0 && a < b);
  });
  std::vector<std::uint32_t> open;  // the nodes on the way to the current token
  std::string_view last;
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const std::string_view text = bytes(tokens_[t]);
    const std::size_t shared = static_cast<std::size_t>(
        std::mismatch(text.begin(), text.end(), last.begin(), last.end()).first - text.begin());
    while (open.size() > shared) {
      nodes_[open.back()].subtree_end = static_cast<std::uint32_t>(nodes_.size());
      open.pop_back();
    }
    for (std::size_t i = shared; i < text.size(); ++i) {
      open.push_back(narrow<std::uint32_t>(nodes_.size(), "bytes of all tokens", "vocabulary"));
      // Only the last node of a token has tokens, and they are the next ones in order.
      nodes_.push_back(
          {0, static_cast<std::uint32_t>(i + 1), static_cast<std::uint32_t>(t), static_cast<std::uint8_t>(text[i])});
    }
    max_depth_ = std::max(max_depth_, static_cast<std::uint32_t>(text.size()));
    last = text;
  }
  const auto end = static_cast<std::uint32_t>(nodes_.size());
  for (const std::uint32_t node : open) nodes_[node].subtree_end = end;
  nodes_.push_back({end, 0, static_cast<std::uint32_t>(tokens_.size()), 0});
}

}  // namespace lathe::text::grammar
