// The byte strings of a tokenizer's tokens as a trie in depth-first order, so that one walk over an array visits every
// token that a grammar may allow and skips whole subtrees that it does not.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::text::grammar {

class Vocabulary {
 public:
  struct Node {
    std::uint32_t subtree_end;  // the next node that does not lie below this one
    std::uint32_t depth;        // bytes on the way here, at least 1
    std::uint32_t tokens;       // where its tokens begin; they end where the next node's begin
    std::uint8_t byte;
  };

  // Tokens that write text: not the control, unknown and unused ones, nor those without bytes.
  explicit Vocabulary(const Tokenizer& tokenizer);
  // For tests: the bytes of token i; empty ones never match.
  Vocabulary(std::vector<std::string> bytes, std::vector<TokenId> end_of_generation);

  std::size_t size() const { return bytes_.size(); }  // tokens of the vocabulary
  const std::string& bytes(TokenId id) const { return bytes_[static_cast<std::size_t>(id)]; }
  const std::vector<TokenId>& end_of_generation() const { return ends_; }
  bool ends_generation(TokenId id) const {
    return static_cast<std::size_t>(id) < is_end_.size() && is_end_[static_cast<std::size_t>(id)];
  }

  std::span<const Node> nodes() const { return std::span(nodes_).first(nodes_.size() - 1); }
  std::span<const TokenId> tokens(std::size_t node) const {
    return std::span(tokens_).subspan(nodes_[node].tokens, nodes_[node + 1].tokens - nodes_[node].tokens);
  }
  std::uint32_t max_depth() const { return max_depth_; }

 private:
  void mark_ends();
  void build();

  std::vector<std::string> bytes_;
  std::vector<TokenId> ends_;
  std::vector<bool> is_end_;  // by id
  std::vector<Node> nodes_;   // and one more, for the end of the tokens
  std::vector<TokenId> tokens_;
  std::uint32_t max_depth_ = 0;
};

}  // namespace lathe::text::grammar
