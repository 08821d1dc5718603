// Which tokens may come next. The part of the answer that depends only on a node of the automaton, not on who called
// its rule, is computed once and shared by every text with the same grammar and vocabulary; the rest, tokens that leave
// the rule in their middle, is computed for the text at hand and remembered per set of configurations, one for all sets
// that no token is long enough to tell apart. Where that would look at the vocabulary more than a few times over,
// because a text can be matched in many ways at once, one walk follows all of them together.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/grammar/machine.h"
#include "text/grammar/vocabulary.h"

namespace lathe::text::grammar {

// One bit per token.
class TokenSet {
 public:
  TokenSet() = default;
  explicit TokenSet(std::size_t tokens) : words_((tokens + 63) / 64) {}
  void add(TokenId id) { words_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64); }
  bool has(TokenId id) const { return words_[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1; }
  void add_all(const TokenSet& other);
  bool empty() const;
  std::size_t count() const;
  std::span<const std::uint64_t> words() const { return words_; }
  bool operator==(const TokenSet&) const = default;

 private:
  std::vector<std::uint64_t> words_;
};

// A grammar compiled for a vocabulary. Thread-safe.
class TokenMasks {
 public:
  TokenMasks(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const Vocabulary> vocabulary);

  // What tokens do that begin at a node.
  struct Local {
    std::vector<TokenId> few;              // allowed tokens, when they are few,
    TokenSet many;                         // or else here
    std::vector<std::uint32_t> leaves_at;  // nodes of the vocabulary's trie where the rule has matched
    std::size_t visited = 0;               // nodes of the trie that finding this out looked at
  };
  // Throws Error when it takes more than kMaxWork.
  std::shared_ptr<const Local> local(NodeId node);

  // Work that one token may cost, in configurations that machines look at (Machine::grant): a few milliseconds. What
  // the trie costs is bounded by its size.
  static constexpr std::uint64_t kMaxWork = 150'000;

  const std::shared_ptr<const Automaton>& automaton() const { return automaton_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  std::shared_ptr<const Local> compute(NodeId node) const;

  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::mutex mutex_;  // guards what follows
  std::unordered_map<NodeId, std::shared_ptr<const Local>> locals_;
  std::size_t locals_bytes_ = 0;
};

// One text on its way through a grammar.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<TokenMasks> masks);

  // Tokens after which the text can still be completed; end-of-generation tokens exactly when it is complete now. The
  // reference holds until the next call of a method. Throws Error, here and in accept(), when the grammar is so
  // ambiguous that this takes more than TokenMasks::kMaxWork.
  const TokenSet& allowed();
  // False, and no change, when the token may not come next. An end-of-generation token ends the text.
  bool accept(TokenId id);
  bool accept_bytes(std::string_view bytes);
  // Where the text stands, for go_to(). Until drop_places() the matcher keeps what places refer to.
  using Place = std::uint64_t;
  Place place();
  void go_to(Place place);
  void drop_places() { holds_places_ = false; }
  bool complete() const { return !ended_ && machine_.accepts(set_); }  // may end here
  bool ended() const { return ended_; }
  // Complete, and no byte can follow.
  bool exhausted() const { return ended_ || machine_.configurations(set_).empty(); }

  // What this text has cost so far.
  struct Cost {
    std::uint64_t configurations = 0;  // that its machine looked at
    std::uint64_t trie_nodes = 0;  // of the vocabulary, those looked at for locals included even where they were known
  };
  Cost cost() const { return {machine_.work() + forgotten_work_, trie_nodes_}; }

 private:
  TokenSet compute(SetId set);
  bool add_apart(const std::vector<Configuration>& configurations, TokenSet& allowed);

  std::shared_ptr<TokenMasks> masks_;
  Machine machine_;
  SetId set_;
  bool ended_ = false, holds_places_ = false;
  TokenSet none_;
  std::unordered_map<SetId, TokenSet> known_;  // by Machine::alike_within()
  std::uint64_t trie_nodes_ = 0, forgotten_work_ = 0;
};

}  // namespace lathe::text::grammar
