#include "text/grammar/machine.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "base/error.h"
#include "text/hash_index.h"

namespace lathe::text::grammar {
namespace {

// In a frame: nobody waits; the text is complete, or whoever called is unknown. No automaton has so many nodes.
constexpr NodeId kEndMark = ~NodeId{0}, kUnknownMark = kEndMark - 1;

constexpr std::size_t kSetWork = 16;  // making a set costs about as much as looking at so many configurations

std::uint64_t key_of(Configuration c) { return std::uint64_t{c.node} << 32 | c.frame; }

std::uint64_t hash_of(std::span<const Configuration> content, std::uint8_t flags) {
  std::uint64_t hash = flags + 1;
  for (const Configuration& c : content) hash = mix64(hash ^ key_of(c), 0x9e3779b97f4a7c15u) + content.size();
  return hash;
}

[[noreturn]] void too_ambiguous() {
  throw Error("the text so far can be matched in too many ways", "grammar",
              "make alternatives differ earlier, or use smaller repetition counts");
}

// A set of configurations that is quick while it is small.
class Seen {
 public:
  bool insert(Configuration c) {
    if (large_.empty()) {
      if (std::find(small_.begin(), small_.end(), c) != small_.end()) return false;
      small_.push_back(c);
      if (small_.size() == kSmall) {
        for (const Configuration& other : small_) large_.insert(key_of(other));
      }
      return true;
    }
    if (large_.size() > Machine::kMaxConfigurations * 4) too_ambiguous();
    return large_.insert(key_of(c)).second;
  }

 private:
  static constexpr std::size_t kSmall = 24;
  std::vector<Configuration> small_;
  std::unordered_set<std::uint64_t> large_;
};

}  // namespace

// What follows from seeds without reading: free edges and returns first, until nothing is new; then the calls, callers
// before callees, so that all callers of a rule are known when it gets its frame. A rule called here cannot return here
// as well, since nodes have a free edge past calls of rules that may be empty.
class Machine::Closure {
 public:
  explicit Closure(Machine& machine) : m_(machine), automaton_(*machine.automaton_) {}

  SetId run(std::span<const Configuration> seeds) {
    for (const Configuration& c : seeds) arrive(c);
    follow(true);
    while (!calls_.empty()) {
      const auto first = calls_.begin();
      std::vector<Configuration> callers = std::move(first->second.callers);
      const std::uint32_t rule = first->second.rule;
      calls_.erase(first);
      m_.reduce(callers);
      if (callers.size() > kMaxConfigurations) too_ambiguous();
      arrive({automaton_.start(rule), m_.intern_frame(callers)});
      follow(false);
    }
    m_.reduce(result_);
    return m_.intern_set(result_, flags_);
  }

 private:
  struct Called {
    std::uint32_t rule = 0;
    std::vector<Configuration> callers;
  };

  void arrive(Configuration c) {
    m_.count(1);
    if (c.node == kEndMark) {
      flags_ |= kAccepts;
    } else if (c.node == kUnknownMark) {
      flags_ |= kLeaves;
    } else if (seen_.insert(c)) {
      todo_.push_back(c);
    }
  }

  void follow(bool returns) {
    while (!todo_.empty()) {
      const Configuration c = todo_.back();
      todo_.pop_back();
      if (!automaton_.bytes(c.node).empty()) result_.push_back(c);
      for (const NodeId next : automaton_.free(c.node)) arrive({next, c.frame});
      if (returns && automaton_.is_final(c.node)) {
        for (const Configuration& waiting : m_.waiting(c.frame)) arrive(waiting);
      }
      for (const Automaton::Call& call : automaton_.calls(c.node)) {
        Called& called = calls_[automaton_.rank(call.rule)];
        called.rule = call.rule;
        if (automaton_.is_tail(call.then)) {
          const auto waiting = m_.waiting(c.frame);
          m_.count(waiting.size());
          called.callers.insert(called.callers.end(), waiting.begin(), waiting.end());
        } else {
          called.callers.push_back({call.then, c.frame});
        }
        if (called.callers.size() > 2 * kMaxConfigurations) m_.reduce(called.callers);
        if (called.callers.size() > 2 * kMaxConfigurations) too_ambiguous();
      }
    }
  }

  Machine& m_;
  const Automaton& automaton_;
  Seen seen_;
  std::vector<Configuration> todo_, result_;
  std::map<std::uint32_t, Called> calls_;  // by rank of the rule
  std::uint8_t flags_ = 0;
};

Machine::Machine(std::shared_ptr<const Automaton> automaton) : automaton_(std::move(automaton)) {
  std::vector<Configuration> nothing, end{{kEndMark, 0}}, unknown{{kUnknownMark, 0}};
  intern_set(nothing, 0);
  intern_frame(end);
  intern_frame(unknown);
}

SetId Machine::start() {
  // As if the whole text were a call of the root rule.
  std::vector<Configuration> seeds{{automaton_->start(automaton_->root()), kEndFrame}};
  return close(seeds);
}

SetId Machine::inside(NodeId node) {
  std::vector<Configuration> one{{node, kUnknownFrame}};
  return intern_set(one, 0);
}

SetId Machine::after_return(FrameId frame) {
  const std::vector<Configuration> seeds(waiting(frame).begin(), waiting(frame).end());
  return close(seeds);
}

SetId Machine::compute_step(SetId set, std::uint8_t byte, std::uint32_t byte_class) {
  if (bytes_used() > kMaxBytes) too_ambiguous();
  count(kSetWork + configurations(set).size());
  std::vector<Configuration> seeds;
  for (const Configuration& c : configurations(set)) {
    for (const Automaton::ByteEdge& edge : automaton_->bytes(c.node)) {
      if (byte >= edge.first && byte <= edge.last) seeds.push_back({edge.target, c.frame});
    }
  }
  const SetId next = seeds.empty() ? kDead : close(seeds);
  next_[std::size_t{set} * automaton_->n_byte_classes() + byte_class] = next;
  return next;
}

SetId Machine::close(std::span<const Configuration> seeds) { return Closure(*this).run(seeds); }

void Machine::count(std::size_t work) {
  work_ += work;
  if (work_ > limit_) too_ambiguous();
}

// Sorted, each once, and without those that match nothing that another does not.
void Machine::reduce(std::vector<Configuration>& content) const {
  std::sort(content.begin(), content.end());
  Seen covered;  // repetition and frame; the one with most copies left comes first
  const auto redundant = [&](const Configuration& c) {
    if (c.node >= kUnknownMark || automaton_->repetition(c.node) == 0 || !automaton_->copies_are_optional(c.node))
      return false;
    return !covered.insert({automaton_->repetition(c.node), c.frame});
  };
  content.erase(std::unique(content.begin(), content.end()), content.end());
  std::erase_if(content, redundant);
}

SetId Machine::alike_within(SetId set, std::uint32_t bytes) {
  if (bytes != alike_bytes_) alike_.clear();
  alike_bytes_ = bytes;
  const auto alike = [&](std::span<const Configuration> content) {
    count(content.size());
    std::vector<Configuration> copy(content.begin(), content.end());
    for (Configuration& c : copy) {
      if (c.node < kUnknownMark) c = {automaton_->alike_within(c.node, bytes), alike_[c.frame]};
    }
    reduce(copy);
    return copy;
  };
  // A frame's number is above those of the frames it mentions; what this adds is alike to itself.
  while (alike_.size() < frames_.size()) {
    std::vector<Configuration> content = alike(waiting(static_cast<FrameId>(alike_.size())));
    alike_.push_back(intern_frame(content));
  }
  std::vector<Configuration> content = alike(configurations(set));
  return intern_set(content, sets_[set].flags);
}

SetId Machine::intern_set(std::vector<Configuration>& sorted, std::uint8_t flags) {
  if (sorted.size() > kMaxConfigurations) too_ambiguous();
  const std::uint64_t hash = hash_of(sorted, flags);
  const auto [begin, end] = set_index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const Run& run = sets_[it->second];
    if (run.flags == flags && std::ranges::equal(configurations(it->second), sorted)) return it->second;
  }
  const auto id = static_cast<SetId>(sets_.size());
  sets_.push_back(
      {static_cast<std::uint32_t>(configurations_.size()), static_cast<std::uint32_t>(sorted.size()), flags});
  configurations_.insert(configurations_.end(), sorted.begin(), sorted.end());
  next_.resize(next_.size() + automaton_->n_byte_classes(), kNotYet);
  set_index_.emplace(hash, id);
  return id;
}

FrameId Machine::intern_frame(std::vector<Configuration>& sorted) {
  const std::uint64_t hash = hash_of(sorted, 0);
  const auto [begin, end] = frame_index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (std::ranges::equal(waiting(it->second), sorted)) return it->second;
  }
  const auto id = static_cast<FrameId>(frames_.size());
  frames_.push_back({static_cast<std::uint32_t>(waiting_.size()), static_cast<std::uint32_t>(sorted.size()), 0});
  waiting_.insert(waiting_.end(), sorted.begin(), sorted.end());
  frame_index_.emplace(hash, id);
  return id;
}

std::size_t Machine::bytes_used() const {
  constexpr std::size_t kIndexEntry = 48;  // an entry of the hash maps, about
  return (configurations_.size() + waiting_.size()) * sizeof(Configuration) +
         (sets_.size() + frames_.size()) * (sizeof(Run) + kIndexEntry) + (next_.size() + alike_.size()) * sizeof(SetId);
}

std::pair<Machine, SetId> Machine::compacted(SetId set) const {
  // A frame's number is above those of the frames it mentions.
  std::vector<FrameId> renamed(frames_.size(), kEndFrame);
  std::vector<bool> needed(frames_.size(), false);
  for (const Configuration& c : configurations(set)) needed[c.frame] = true;
  for (std::size_t f = frames_.size(); f-- > 0;) {
    if (!needed[f]) continue;
    for (const Configuration& c : waiting(static_cast<FrameId>(f))) needed[c.frame] = true;
  }
  Machine fresh(automaton_);
  const auto rename = [&](std::span<const Configuration> content) {
    std::vector<Configuration> copy(content.begin(), content.end());
    for (Configuration& c : copy) c.frame = renamed[c.frame];
    std::sort(copy.begin(), copy.end());
    return copy;
  };
  renamed[kUnknownFrame] = kUnknownFrame;
  for (std::size_t f = kUnknownFrame + 1; f < frames_.size(); ++f) {
    if (!needed[f]) continue;
    std::vector<Configuration> content = rename(waiting(static_cast<FrameId>(f)));
    renamed[f] = fresh.intern_frame(content);
  }
  std::vector<Configuration> content = rename(configurations(set));
  const SetId id = fresh.intern_set(content, sets_[set].flags);
  return {std::move(fresh), id};
}

}  // namespace lathe::text::grammar
