#include "text/grammar/automaton.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/error.h"
#include "text/grammar/utf8_ranges.h"

namespace lathe::text::grammar {

using Kind = Expression::Kind;

class AutomatonBuilder {
 public:
  AutomatonBuilder(const Grammar& grammar, Automaton& out) : out_(out) {
    for (const Rule& rule : grammar.rules) rules_.push_back({&rule, &rule.body});
    out_.root_ = grammar.root;
    check_size();
    find_nullable();
    find_productive();
  }

  void build() {
    for (std::size_t r = 0; r < rules_.size(); ++r) {  // repetitions add rules while this runs
      rules_[r].start = new_node();
      const NodeId end = new_node();
      nodes_[end].final_node = true;
      const Part from{rules_[r].body, rules_[r].start, end};
      rule_now_ = r;
      expand(from);
    }
    skip_nullable_calls();
    order_rules();
    flatten();
    find_byte_classes();
  }

 private:
  struct BuildRule {
    const Rule* named;  // the rule of the grammar it belongs to
    const Expression* body;
    NodeId start = 0;
    std::uint32_t rank = 0;
    bool nullable = false, productive = false;
  };
  struct BuildNode {
    std::vector<Automaton::ByteEdge> bytes;
    std::vector<NodeId> free;
    std::vector<Automaton::Call> calls;
    bool final_node = false;
    std::uint32_t repetition = 0;
  };
  struct Part {
    const Expression* expression;
    NodeId from, to;
  };

  [[noreturn]] static void refuse(const Rule& rule, std::string_view what, std::string_view remedy = {}) {
    throw Error(fmt::format("rule \"{}\" {}", rule.name, what), rule.where, std::string(remedy));
  }

  // Repetitions multiplied out, saturating.
  static std::uint64_t expanded(const Expression& e) {
    constexpr std::uint64_t kMost = Automaton::kMaxExpanded + 1;
    std::uint64_t total = e.kind == Kind::kLiteral ? e.bytes.size() + 1 : 1 + e.ranges.size();
    for (const Expression& item : e.items) total = std::min(kMost, total + expanded(item));
    if (e.kind == Kind::kRepeat) {
      const std::uint64_t times = std::max<std::uint32_t>(1, e.max == kUnbounded ? e.min : e.max);
      total = std::min(kMost, total * times);
    }
    return total;
  }

  void check_size() {
    std::uint64_t total = 0;
    for (const BuildRule& rule : rules_) {
      total += expanded(*rule.body);
      if (total > Automaton::kMaxExpanded) {
        refuse(
            *rule.named,
            fmt::format("makes the grammar larger than {} items, repetitions multiplied out", Automaton::kMaxExpanded),
            "use smaller repetition counts");
      }
    }
  }

  bool is_nullable(const Expression& e) const {
    switch (e.kind) {
      case Kind::kLiteral:
        return e.bytes.empty();
      case Kind::kClass:
        return false;
      case Kind::kRule:
        return rules_[e.rule].nullable;
      case Kind::kSequence:
        return std::all_of(e.items.begin(), e.items.end(), [&](const auto& item) { return is_nullable(item); });
      case Kind::kChoice:
        return std::any_of(e.items.begin(), e.items.end(), [&](const auto& item) { return is_nullable(item); });
      case Kind::kRepeat:
        return e.min == 0 || is_nullable(e.items[0]);
    }
    return false;
  }

  bool is_productive(const Expression& e) const {
    switch (e.kind) {
      case Kind::kLiteral:
        return true;
      case Kind::kClass:
        return std::any_of(e.ranges.begin(), e.ranges.end(),
                           [](CodeRange range) { return range.first < 0xD800 || range.last > 0xDFFF; });
      case Kind::kRule:
        return rules_[e.rule].productive;
      case Kind::kSequence:
        return std::all_of(e.items.begin(), e.items.end(), [&](const auto& item) { return is_productive(item); });
      case Kind::kChoice:
        return std::any_of(e.items.begin(), e.items.end(), [&](const auto& item) { return is_productive(item); });
      case Kind::kRepeat:
        return e.min == 0 || is_productive(e.items[0]);
    }
    return false;
  }

  static void collect_rules(const Expression& e, std::vector<std::uint32_t>& out) {
    if (e.kind == Kind::kRule) out.push_back(e.rule);
    for (const Expression& item : e.items) collect_rules(item, out);
  }

  // Raises `flag` of rules for which `test` holds until none is left, looking again only at rules that use one that
  // changed.
  template <class Test>
  void least_fixpoint(bool BuildRule::*flag, Test&& test) {
    std::vector<std::vector<std::uint32_t>> users(rules_.size());
    for (std::uint32_t r = 0; r < rules_.size(); ++r) {
      std::vector<std::uint32_t> used;
      collect_rules(*rules_[r].body, used);
      for (const std::uint32_t other : used) users[other].push_back(r);
    }
    std::deque<std::uint32_t> todo;
    for (std::uint32_t r = 0; r < rules_.size(); ++r) todo.push_back(r);
    while (!todo.empty()) {
      const std::uint32_t r = todo.front();
      todo.pop_front();
      if (rules_[r].*flag || !test(*rules_[r].body)) continue;
      rules_[r].*flag = true;
      todo.insert(todo.end(), users[r].begin(), users[r].end());
    }
  }

  void find_nullable() {
    least_fixpoint(&BuildRule::nullable, [&](const Expression& e) { return is_nullable(e); });
  }
  void find_productive() {
    least_fixpoint(&BuildRule::productive, [&](const Expression& e) { return is_productive(e); });
    for (const BuildRule& rule : rules_) {
      if (!rule.productive) {
        refuse(*rule.named, "can never finish: no text of finite length matches it",
               "give it an alternative that does not need the rule itself");
      }
    }
  }

  NodeId new_node() {
    if (nodes_.size() >= Automaton::kMaxNodes) {
      refuse(*rules_[rule_now_].named, fmt::format("makes the grammar larger than {} states", Automaton::kMaxNodes),
             "use smaller repetition counts or character classes");
    }
    nodes_.emplace_back();
    return static_cast<NodeId>(nodes_.size() - 1);
  }

  // Edges for one rule's body, without recursion over what it repeats.
  void expand(const Part& whole) {
    std::vector<Part> todo{whole};
    while (!todo.empty()) {
      const auto [e, from, to] = todo.back();
      todo.pop_back();
      switch (e->kind) {
        case Kind::kLiteral: {
          Prefixes prefixes;
          expand_literal(e->bytes, from, to, prefixes);
          break;
        }
        case Kind::kClass:
          expand_class(e->ranges, from, to);
          break;
        case Kind::kRule:
          nodes_[from].calls.push_back({e->rule, to});
          break;
        case Kind::kSequence: {
          if (e->items.empty()) nodes_[from].free.push_back(to);
          NodeId at = from;
          for (std::size_t i = 0; i < e->items.size(); ++i) {
            const NodeId next = i + 1 == e->items.size() ? to : new_node();
            todo.push_back({&e->items[i], at, next});
            at = next;
          }
          break;
        }
        case Kind::kChoice: {
          Prefixes prefixes;
          for (const Expression& item : e->items) {
            if (item.kind == Kind::kLiteral) {
              expand_literal(item.bytes, from, to, prefixes);
            } else if (is_productive(item)) {
              todo.push_back({&item, from, to});
            }
          }
          break;
        }
        case Kind::kRepeat:
          expand_repeat(*e, from, to, todo);
          break;
      }
    }
  }

  // Where a byte of a literal leads from a node, for alternatives between the same two nodes: they share the nodes of
  // their common beginnings, so that an enumeration of thousands of texts is followed as one way at a time.
  using Prefixes = std::map<std::pair<NodeId, std::uint8_t>, NodeId>;
  void expand_literal(std::string_view bytes, NodeId from, NodeId to, Prefixes& prefixes) {
    if (bytes.empty()) nodes_[from].free.push_back(to);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const auto byte = static_cast<std::uint8_t>(bytes[i]);
      if (i + 1 == bytes.size()) {
        nodes_[from].bytes.push_back({byte, byte, to});
        continue;
      }
      const auto [next, fresh] = prefixes.try_emplace({from, byte}, 0);
      if (fresh) {
        next->second = new_node();
        nodes_[from].bytes.push_back({byte, byte, next->second});
      }
      from = next->second;
    }
  }

  // Encodings that end alike share the nodes of their ends.
  void expand_class(const std::vector<CodeRange>& ranges, NodeId from, NodeId to) {
    std::map<std::vector<ByteRange>, NodeId> ends;
    for (const std::vector<ByteRange>& encoding : utf8_sequences(ranges)) {
      NodeId next = to;
      for (std::size_t i = encoding.size() - 1; i > 0; --i) {
        std::vector<ByteRange> rest(encoding.begin() + static_cast<std::ptrdiff_t>(i), encoding.end());
        const auto [it, fresh] = ends.try_emplace(std::move(rest), 0);
        if (fresh) {
          it->second = new_node();
          nodes_[it->second].bytes.push_back({encoding[i].first, encoding[i].last, next});
        }
        next = it->second;
      }
      nodes_[from].bytes.push_back({encoding[0].first, encoding[0].last, next});
    }
  }

  static bool is_small(const Expression& e) {
    if (e.kind == Kind::kRule) return true;
    if (e.kind == Kind::kLiteral) return e.bytes.size() <= 2;
    return e.kind == Kind::kClass && (e.ranges.empty() || e.ranges.back().last < 0x80);
  }

  void expand_repeat(const Expression& e, NodeId from, NodeId to, std::vector<Part>& todo) {
    const Expression* item = &e.items[0];
    if (!is_productive(*item)) {  // then min is 0
      nodes_[from].free.push_back(to);
      return;
    }
    if (e.max == kUnbounded && is_nullable(*item)) {
      refuse(*rules_[rule_now_].named, "repeats something that may be empty without a bound",
             "let what is repeated match at least one character");
    }
    const std::uint32_t copies = e.max == kUnbounded ? e.min : e.max;
    if (copies > 2 && !is_small(*item)) item = own_rule(*item);
    const auto repetition = static_cast<std::uint32_t>(out_.repetitions_.size());
    out_.repetitions_.push_back({static_cast<NodeId>(nodes_.size()), e.min, e.max});
    NodeId at = from;
    for (std::uint32_t i = 0; i < copies; ++i) {
      if (i >= e.min) nodes_[at].free.push_back(to);
      const bool last = i + 1 == copies && e.max != kUnbounded;
      const NodeId next = last ? to : new_node();
      if (!last) nodes_[next].repetition = repetition;
      todo.push_back({item, at, next});
      at = next;
    }
    if (e.max == kUnbounded) {
      const NodeId loop = new_node();
      nodes_[at].free.push_back(loop);
      todo.push_back({item, loop, loop});
      nodes_[loop].free.push_back(to);
    } else if (copies == 0) {
      nodes_[from].free.push_back(to);
    }
  }

  // A rule for something that is repeated often, so that every repetition is one call; returns the reference to it.
  const Expression* own_rule(const Expression& body) {
    BuildRule rule{rules_[rule_now_].named, &body};
    rule.nullable = is_nullable(body);
    rule.productive = true;
    rules_.push_back(rule);
    references_.push_back(rule_reference(static_cast<std::uint32_t>(rules_.size() - 1)));
    return &references_.back();
  }

  // A call of a rule that may be empty may also be skipped; Machine relies on it.
  void skip_nullable_calls() {
    for (BuildNode& node : nodes_) {
      for (const Automaton::Call& call : node.calls) {
        if (rules_[call.rule].nullable) node.free.push_back(call.then);
      }
    }
  }

  // Rules that can be called before `rule` has read a byte.
  std::vector<std::uint32_t> left_calls(std::uint32_t rule, std::vector<std::uint32_t>& seen,
                                        std::uint32_t stamp) const {
    std::vector<std::uint32_t> called;
    std::vector<NodeId> todo{rules_[rule].start};
    seen[todo.front()] = stamp;
    while (!todo.empty()) {
      const BuildNode& node = nodes_[todo.back()];
      todo.pop_back();
      for (const Automaton::Call& call : node.calls) called.push_back(call.rule);
      for (const NodeId next : node.free) {
        if (seen[next] != stamp) {
          seen[next] = stamp;
          todo.push_back(next);
        }
      }
    }
    std::sort(called.begin(), called.end());
    called.erase(std::unique(called.begin(), called.end()), called.end());
    return called;
  }

  // Depth first along left calls; a rule gets its rank when everything below it has one.
  void order_rules() {
    enum : std::uint8_t { kNew, kOpen, kDone };
    std::vector<std::uint8_t> state(rules_.size(), kNew);
    std::vector<std::uint32_t> seen(nodes_.size(), 0);
    std::uint32_t rank = static_cast<std::uint32_t>(rules_.size());
    struct Frame {
      std::uint32_t rule;
      std::vector<std::uint32_t> calls;
      std::size_t next = 0;
    };
    for (std::uint32_t first = 0; first < rules_.size(); ++first) {
      if (state[first] != kNew) continue;
      std::vector<Frame> stack;
      const auto open = [&](std::uint32_t rule) {
        state[rule] = kOpen;
        stack.push_back({rule, left_calls(rule, seen, rule + 1)});
      };
      open(first);
      while (!stack.empty()) {
        Frame& top = stack.back();
        if (top.next == top.calls.size()) {
          state[top.rule] = kDone;
          rules_[top.rule].rank = --rank;
          stack.pop_back();
          continue;
        }
        const std::uint32_t called = top.calls[top.next++];
        if (state[called] == kOpen) {
          refuse(*rules_[called].named, "is left-recursive: it can reach itself without reading anything",
                 "put what it reads first, or use a repetition");
        }
        if (state[called] == kNew) open(called);
      }
    }
  }

  void flatten() {
    for (const BuildNode& node : nodes_) {
      const bool tail = node.final_node && node.bytes.empty() && node.free.empty() && node.calls.empty();
      out_.nodes_.push_back({static_cast<std::uint32_t>(out_.bytes_.size()),
                             static_cast<std::uint32_t>(out_.free_.size()),
                             static_cast<std::uint32_t>(out_.calls_.size()), node.final_node, tail, node.repetition});
      out_.bytes_.insert(out_.bytes_.end(), node.bytes.begin(), node.bytes.end());
      out_.free_.insert(out_.free_.end(), node.free.begin(), node.free.end());
      out_.calls_.insert(out_.calls_.end(), node.calls.begin(), node.calls.end());
    }
    // Nodes that only lead on to a tail are tails too: the end of `("," item)?` just before the rule's end.
    std::vector<std::vector<NodeId>> sources(nodes_.size());
    std::vector<NodeId> todo;
    for (NodeId n = 0; n < nodes_.size(); ++n) {
      if (out_.nodes_[n].tail) todo.push_back(n);
      if (nodes_[n].bytes.empty() && nodes_[n].calls.empty() && nodes_[n].free.size() == 1)
        sources[nodes_[n].free.front()].push_back(n);
    }
    while (!todo.empty()) {
      const NodeId n = todo.back();
      todo.pop_back();
      for (const NodeId source : sources[n]) {
        if (out_.nodes_[source].tail) continue;
        out_.nodes_[source].tail = true;
        todo.push_back(source);
      }
    }
    out_.nodes_.push_back({static_cast<std::uint32_t>(out_.bytes_.size()),
                           static_cast<std::uint32_t>(out_.free_.size()),
                           static_cast<std::uint32_t>(out_.calls_.size())});
    for (const BuildRule& rule : rules_) out_.rules_.push_back({rule.start, rule.rank, rule.nullable});
  }

  void find_byte_classes() {
    std::array<bool, 257> cut{};
    for (const Automaton::ByteEdge& edge : out_.bytes_) {
      cut[edge.first] = true;
      cut[std::size_t{edge.last} + 1] = true;
    }
    std::uint32_t current = 0;
    for (std::size_t b = 0; b < 256; ++b) {
      if (b > 0 && cut[b]) ++current;
      out_.class_of_[b] = static_cast<std::uint8_t>(current);
    }
    out_.n_classes_ = current + 1;
  }

  Automaton& out_;
  std::vector<BuildRule> rules_;
  std::size_t rule_now_ = 0;
  std::vector<BuildNode> nodes_;
  std::deque<Expression> references_;
};

Automaton::Automaton(const Grammar& grammar) { AutomatonBuilder(grammar, *this).build(); }

NodeId Automaton::alike_within(NodeId node, std::uint32_t bytes) const {
  if (repetition(node) == 0) return node;
  const CopiesLeft left = place_of(node);
  // The last node that needs, or may have, more copies than `bytes` bytes can hold.
  if (left.needed > bytes) return node + (left.needed - bytes - 1);
  if (left.needed == 0 && left.possible > bytes && left.possible != kUnbounded)
    return node + (left.possible - bytes - 1);
  return node;
}

}  // namespace lathe::text::grammar
