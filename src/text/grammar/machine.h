// Runs an Automaton over bytes, following every way to match at once. What may follow is a set of configurations (node,
// frame); a frame is everybody who waits for a called rule to match: a set of (node to go on at, its frame). Calls of a
// rule at the same position share one frame (the graph-structured stack of Tomita 1986), so that a set stays small
// where the number of stacks grows exponentially. Where several configurations differ only in how many copies of one
// repetition they have used, none of them needed any more, the one with the fewest stands for all: it matches whatever
// the others match. Sets and frames are numbered, equal ones get equal numbers, and the
// step from a set along a byte is remembered.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar/automaton.h"

namespace lathe::text::grammar {

using FrameId = std::uint32_t;
using SetId = std::uint32_t;

struct Configuration {
  NodeId node;
  FrameId frame;
  // NOLINTNEXTLINE(modernize-use-nullptr): takes the 0 that the comparison is rewritten with for a pointer
  auto operator<=>(const Configuration&) const = default;
};

class Machine {
 public:
  static constexpr SetId kDead = 0;  // nothing can follow and the text is not complete
  // Frames that every machine has: whoever waits for the whole text, and an unknown context.
  static constexpr FrameId kEndFrame = 0, kUnknownFrame = 1;

  explicit Machine(std::shared_ptr<const Automaton> automaton);

  SetId start();                      // before the first byte
  SetId inside(NodeId node);          // about to read a byte at `node`, in a rule whose callers are unknown
  SetId after_return(FrameId frame);  // whoever waits in `frame` has got what it waits for

  // A set after which the same texts of up to `bytes` bytes may follow, the same one for many sets that differ only in
  // counts of repetitions far from their bounds.
  SetId alike_within(SetId set, std::uint32_t bytes);

  // Throws Error when the grammar is so ambiguous that a set would pass kMaxConfigurations, the machine kMaxBytes, or
  // more work is needed than was granted.
  SetId step(SetId set, std::uint8_t byte) {
    const std::uint32_t byte_class = automaton_->byte_class(byte);
    const SetId known = next_[std::size_t{set} * automaton_->n_byte_classes() + byte_class];
    return known != kNotYet ? known : compute_step(set, byte, byte_class);
  }

  // The text so far is complete.
  bool accepts(SetId set) const { return sets_[set].flags & kAccepts; }
  // A rule with unknown callers has matched here.
  bool leaves(SetId set) const { return sets_[set].flags & kLeaves; }
  // At every node stands at least one byte edge.
  std::span<const Configuration> configurations(SetId set) const {
    return std::span(configurations_).subspan(sets_[set].begin, sets_[set].size);
  }

  // What is new takes work, counted in configurations looked at: from here on at most so much. Unlimited at first.
  void grant(std::uint64_t work) { limit_ = work_ + work; }
  std::uint64_t work() const { return work_; }  // so far

  std::size_t bytes_used() const;
  // A machine that knows only `set`, which gets the number returned.
  std::pair<Machine, SetId> compacted(SetId set) const;

  const Automaton& automaton() const { return *automaton_; }

  static constexpr std::size_t kMaxConfigurations = 5'000;
  static constexpr std::size_t kMaxBytes = std::size_t{160} << 20;

 private:
  static constexpr SetId kNotYet = ~SetId{0};
  enum Flags : std::uint8_t { kAccepts = 1, kLeaves = 2 };
  struct Run {
    std::uint32_t begin, size;
    std::uint8_t flags;  // of a set
  };
  class Closure;

  SetId compute_step(SetId set, std::uint8_t byte, std::uint32_t byte_class);
  SetId close(std::span<const Configuration> seeds);
  void count(std::size_t work);
  void reduce(std::vector<Configuration>& content) const;
  SetId intern_set(std::vector<Configuration>& sorted, std::uint8_t flags);
  FrameId intern_frame(std::vector<Configuration>& sorted);
  std::span<const Configuration> waiting(FrameId frame) const {
    return std::span(waiting_).subspan(frames_[frame].begin, frames_[frame].size);
  }

  std::shared_ptr<const Automaton> automaton_;
  std::vector<Configuration> configurations_, waiting_;
  std::vector<Run> sets_, frames_;
  std::vector<SetId> next_;        // [sets, byte classes]
  std::vector<FrameId> alike_;     // by frame, those that alike_within() has seen
  std::uint32_t alike_bytes_ = 0;  // for which `alike_` holds
  std::uint64_t work_ = 0, limit_ = ~std::uint64_t{0};
  std::unordered_multimap<std::uint64_t, std::uint32_t> set_index_, frame_index_;  // by hash of the content
};

}  // namespace lathe::text::grammar
