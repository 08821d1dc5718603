#include "text/grammar/token_masks.h"

#include <algorithm>
#include <bit>

namespace lathe::text::grammar {
namespace {

constexpr std::size_t kMachineBytes = std::size_t{32} << 20;  // a machine that remembers more forgets
constexpr std::size_t kLocalBytes = std::size_t{64} << 20;    // of all Local together
constexpr std::size_t kKnownBytes = std::size_t{8} << 20;     // of the masks a Matcher remembers

// Visits the trie's nodes in [begin, end), whose parent has depth `above` and is reached in `set`, that a text may
// reach: visit(node, set). Looks at no more than `most`; returns at how many.
template <class Visit>
std::size_t walk(const Vocabulary& vocabulary, Machine& machine, std::size_t begin, std::size_t end,
                 std::uint32_t above, SetId set, std::vector<SetId>& sets, std::size_t most, Visit&& visit) {
  const auto nodes = vocabulary.nodes();
  sets.resize(std::size_t{vocabulary.max_depth()} + 1);
  sets[above] = set;
  std::size_t looked_at = 0;
  for (std::size_t i = begin; i < end && looked_at < most; ++looked_at) {
    const Vocabulary::Node& node = nodes[i];
    const SetId next = machine.step(sets[node.depth - 1], node.byte);
    if (next == Machine::kDead) {
      i = node.subtree_end;
    } else {
      sets[node.depth] = next;
      visit(i, next);
      ++i;
    }
  }
  return looked_at;
}

}  // namespace

void TokenSet::add_all(const TokenSet& other) {
  for (std::size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
}

bool TokenSet::empty() const {
  return std::all_of(words_.begin(), words_.end(), [](std::uint64_t word) { return word == 0; });
}

std::size_t TokenSet::count() const {
  std::size_t total = 0;
  for (const std::uint64_t word : words_) total += static_cast<std::size_t>(std::popcount(word));
  return total;
}

TokenMasks::TokenMasks(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const Vocabulary> vocabulary)
    : automaton_(std::move(automaton)), vocabulary_(std::move(vocabulary)) {}

std::shared_ptr<const TokenMasks::Local> TokenMasks::local(NodeId node) {
  const std::lock_guard lock(mutex_);
  const auto known = locals_.find(node);
  if (known != locals_.end()) return known->second;
  auto local = compute(node);
  const std::size_t bytes = local->few.size() * sizeof(TokenId) + local->many.words().size_bytes() +
                            local->leaves_at.size() * sizeof(std::uint32_t) + sizeof(Local);
  if (locals_bytes_ + bytes > kLocalBytes) {
    locals_.clear();
    locals_bytes_ = 0;
  }
  locals_bytes_ += bytes;
  locals_.emplace(node, local);
  return local;
}

std::shared_ptr<const TokenMasks::Local> TokenMasks::compute(NodeId node) const {
  auto local = std::make_shared<Local>();
  Machine machine(automaton_);  // one of its own, so that the work does not depend on what was asked for before
  machine.grant(kMaxWork);
  std::vector<SetId> sets;
  const std::size_t size = vocabulary_->nodes().size();
  local->visited =
      walk(*vocabulary_, machine, 0, size, 0, machine.inside(node), sets, size, [&](std::size_t at, SetId set) {
        const auto tokens = vocabulary_->tokens(at);
        local->few.insert(local->few.end(), tokens.begin(), tokens.end());
        if (machine.leaves(set)) local->leaves_at.push_back(static_cast<std::uint32_t>(at));
      });
  if (local->few.size() > vocabulary_->size() / 32) {
    local->many = TokenSet(vocabulary_->size());
    for (const TokenId id : local->few) local->many.add(id);
    local->few = {};
  }
  return local;
}

Matcher::Matcher(std::shared_ptr<TokenMasks> masks)
    : masks_(std::move(masks)),
      machine_(masks_->automaton()),
      set_(machine_.start()),
      none_(masks_->vocabulary().size()) {}

const TokenSet& Matcher::allowed() {
  if (ended_) return none_;
  machine_.grant(TokenMasks::kMaxWork);
  if (machine_.bytes_used() > kMachineBytes && !holds_places_) {
    auto [machine, set] = machine_.compacted(set_);
    forgotten_work_ += machine_.work();
    machine_ = std::move(machine);
    machine_.grant(TokenMasks::kMaxWork);
    set_ = set;
    known_.clear();
  }
  const SetId alike = machine_.alike_within(set_, masks_->vocabulary().max_depth());
  if (const auto known = known_.find(alike); known != known_.end()) return known->second;
  if ((known_.size() + 1) * (masks_->vocabulary().size() / 8) > kKnownBytes) known_.clear();
  return known_.emplace(alike, compute(alike)).first->second;
}

Matcher::Place Matcher::place() {
  holds_places_ = true;
  return Place{set_} << 1 | (ended_ ? 1 : 0);
}

void Matcher::go_to(Place place) {
  set_ = static_cast<SetId>(place >> 1);
  ended_ = (place & 1) != 0;
}

TokenSet Matcher::compute(SetId set) {
  const Vocabulary& vocabulary = masks_->vocabulary();
  // Stepping adds configurations to the machine, so these are copied.
  const auto now = machine_.configurations(set);
  const std::vector<Configuration> configurations(now.begin(), now.end());
  TokenSet allowed(vocabulary.size());
  if (!add_apart(configurations, allowed)) {
    std::vector<SetId> sets;
    const std::size_t size = vocabulary.nodes().size();
    trie_nodes_ += walk(vocabulary, machine_, 0, size, 0, set, sets, size, [&](std::size_t at, SetId) {
      for (const TokenId id : vocabulary.tokens(at)) allowed.add(id);
    });
  }
  if (machine_.accepts(set)) {
    for (const TokenId id : vocabulary.end_of_generation()) allowed.add(id);
  }
  return allowed;
}

// What each configuration allows, from what is known of its node and from where its callers go on. False, with some
// tokens missing, when that takes too many looks at the vocabulary; what is known already counts too, so that the
// answer does not depend on it.
bool Matcher::add_apart(const std::vector<Configuration>& configurations, TokenSet& allowed) {
  constexpr std::size_t kLocalWalks = 4;  // of the whole trie, together
  const Vocabulary& vocabulary = masks_->vocabulary();
  const std::size_t size = vocabulary.nodes().size();
  std::size_t inside = 0, behind = 0;  // nodes of the trie looked at
  std::vector<SetId> sets;
  for (const Configuration& c : configurations) {
    const auto local = masks_->local(c.node);
    inside += local->visited;
    trie_nodes_ += local->visited;
    if (inside > kLocalWalks * size) return false;
    for (const TokenId id : local->few) allowed.add(id);
    allowed.add_all(local->many);
    if (local->leaves_at.empty()) continue;
    const SetId outside = machine_.after_return(c.frame);
    if (machine_.configurations(outside).empty()) continue;
    for (const std::uint32_t at : local->leaves_at) {
      const Vocabulary::Node& node = vocabulary.nodes()[at];
      const std::size_t looked_at = walk(vocabulary, machine_, at + 1, node.subtree_end, node.depth, outside, sets,
                                         size - behind, [&](std::size_t inner, SetId) {
                                           for (const TokenId id : vocabulary.tokens(inner)) allowed.add(id);
                                         });
      behind += looked_at;
      trie_nodes_ += looked_at;
      if (behind >= size) return false;
    }
  }
  return true;
}

bool Matcher::accept(TokenId id) {
  const Vocabulary& vocabulary = masks_->vocabulary();
  if (ended_ || id < 0 || static_cast<std::size_t>(id) >= vocabulary.size()) return false;
  if (vocabulary.ends_generation(id)) {
    ended_ = complete();
    return ended_;
  }
  return !vocabulary.bytes(id).empty() && accept_bytes(vocabulary.bytes(id));
}

bool Matcher::accept_bytes(std::string_view bytes) {
  machine_.grant(TokenMasks::kMaxWork);
  SetId set = ended_ && !bytes.empty() ? Machine::kDead : set_;
  for (const char byte : bytes) set = machine_.step(set, static_cast<std::uint8_t>(byte));
  if (set == Machine::kDead) return false;
  set_ = set;
  return true;
}

}  // namespace lathe::text::grammar
