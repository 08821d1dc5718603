// A grammar as a recursive transition network over bytes: one small automaton per rule, whose edges read a byte, go on
// for free, or call another rule and continue at a given node when it has matched (Woods 1970). Immutable once built.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/grammar/grammar.h"

namespace lathe::text::grammar {

using NodeId = std::uint32_t;

class Automaton {
 public:
  struct ByteEdge {
    std::uint8_t first, last;  // both included
    NodeId target;
  };
  struct Call {
    std::uint32_t rule;
    NodeId then;  // where the caller goes on
  };

  // Throws Error naming the rule: one that can never finish, left recursion, an unbounded repetition of something that
  // may be empty, more nodes than kMaxNodes or repetitions that multiply to more than kMaxExpanded items.
  explicit Automaton(const Grammar& grammar);

  static constexpr std::uint64_t kMaxExpanded = 200'000;
  static constexpr std::size_t kMaxNodes = 400'000;

  std::span<const ByteEdge> bytes(NodeId node) const {
    return slice(bytes_, nodes_[node].bytes, nodes_[node + 1].bytes);
  }
  std::span<const NodeId> free(NodeId node) const { return slice(free_, nodes_[node].free, nodes_[node + 1].free); }
  std::span<const Call> calls(NodeId node) const { return slice(calls_, nodes_[node].calls, nodes_[node + 1].calls); }
  // The rule has matched.
  bool is_final(NodeId node) const { return nodes_[node].final_node; }
  // Final, and nothing else can follow: a call that continues here may return to its caller's caller.
  bool is_tail(NodeId node) const { return nodes_[node].tail; }

  // Nodes between the copies of a bounded repetition (or of the copies an unbounded one needs at least) match alike but
  // for how many copies are still needed and how many may still come. The number of the repetition, or 0.
  std::uint32_t repetition(NodeId node) const { return nodes_[node].repetition; }
  // No more copies are needed: what matches at a later node of the repetition matches here too.
  bool copies_are_optional(NodeId node) const { return place_of(node).needed == 0; }
  // A node of the same repetition, always the same one, at which the same texts of up to `bytes` bytes may follow: what
  // is repeated reads at least one, so that higher counts do not show.
  NodeId alike_within(NodeId node, std::uint32_t bytes) const;

  NodeId start(std::uint32_t rule) const { return rules_[rule].start; }
  // Rules in an order in which a rule that can call another before it reads a byte stands before it.
  std::uint32_t rank(std::uint32_t rule) const { return rules_[rule].rank; }
  std::uint32_t root() const { return root_; }
  bool root_may_be_empty() const { return rules_[root_].nullable; }

  // Bytes that no edge tells apart share a class.
  std::uint32_t byte_class(std::uint8_t byte) const { return class_of_[byte]; }
  std::uint32_t n_byte_classes() const { return n_classes_; }
  std::size_t n_nodes() const { return nodes_.size() - 1; }

 private:
  friend class AutomatonBuilder;
  struct Node {
    std::uint32_t bytes = 0, free = 0, calls = 0;  // where its edges begin
    bool final_node = false, tail = false;
    std::uint32_t repetition = 0;
  };
  struct Repetition {
    NodeId first;            // after one copy; the nodes after more of them follow
    std::uint32_t min, max;  // copies in all; max may be kUnbounded
  };
  struct CopiesLeft {
    std::uint32_t done, needed, possible;  // possible: kUnbounded, or no fewer than are needed
  };
  CopiesLeft place_of(NodeId node) const {
    const Repetition& r = repetitions_[nodes_[node].repetition];
    const std::uint32_t done = node - r.first + 1;
    return {done, r.min > done ? r.min - done : 0, r.max == kUnbounded ? kUnbounded : r.max - done};
  }
  struct RuleInfo {
    NodeId start = 0;
    std::uint32_t rank = 0;
    bool nullable = false;
  };
  template <class T>
  static std::span<const T> slice(const std::vector<T>& all, std::size_t begin, std::size_t end) {
    return std::span(all).subspan(begin, end - begin);
  }

  std::vector<Node> nodes_;  // one more than there are nodes
  std::vector<ByteEdge> bytes_;
  std::vector<NodeId> free_;
  std::vector<Call> calls_;
  std::vector<Repetition> repetitions_{{0, 0, 0}};  // number 0 is none
  std::vector<RuleInfo> rules_;
  std::uint32_t root_ = 0;
  std::array<std::uint8_t, 256> class_of_{};
  std::uint32_t n_classes_ = 1;
};

}  // namespace lathe::text::grammar
