// Continuous batching over the nodes of programs: every step runs one forward pass that decodes a token of each running
// sequence and prefills as many waiting prompt tokens as fit. Who waits is admitted by priority, then goal, then the
// share its client has had, then by program: the oldest first, and of its calls the deepest. Blocks are admitted,
// shared by prefix (with sequences that are still being read, too) and, when they run out, taken back from the youngest
// sequence, which is recomputed later.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "api/generator.h"
#include "base/cancel.h"
#include "cache/paged_kv.h"
#include "cache/prefix_tree.h"
#include "engine/fair_share.h"
#include "engine/logits_processor.h"
#include "engine/program.h"
#include "engine/sampler.h"
#include "engine/source_encoder.h"
#include "engine/speculative.h"
#include "engine/stop_matcher.h"
#include "model/forward.h"
#include "text/stream_decoder.h"

namespace lathe::engine {

// What a job's program says about it; the goal may change while it waits.
struct Standing {
  Standing(std::uint64_t in_program, std::uint32_t at_depth, Goal for_goal)
      : program(in_program), depth(at_depth), goal(for_goal) {}
  const std::uint64_t program;  // its number, by arrival
  const std::uint32_t depth;    // Node::depth
  std::atomic<Goal> goal;
};

// A node whose inputs are known, as the queue holds it.
struct Job {
  std::vector<text::TokenId> prompt;  // of an encoder-decoder model: the source text
  api::GenerateRequest request;
  std::shared_ptr<const Standing> standing;
  int priority = 0;    // higher goes first
  std::string client;  // whose share it counts to
  std::vector<std::shared_ptr<const model::Adapter>> adapters;
  std::shared_ptr<const cache::KvPolicy> policy;
  std::unique_ptr<LogitsProcessor> processor;  // may be null
  std::shared_ptr<const CancelToken> cancel;   // may be null; looked at before every step
  // May be empty. It has its place in the batch, the first time, and so many tokens of its prompt from the prefix
  // cache.
  std::function<void(std::uint32_t cached)> on_begin;
  // May be empty. After a pass with a part of it: tokens of the prompt read so far, and generated.
  std::function<void(std::uint32_t read, std::uint32_t generated)> on_progress;
  std::function<bool(const Piece&)> on_text;  // may be empty; false cancels
  // Exactly one of the two is called, from within step(), when the job ends.
  std::function<void(api::GenerateResult)> on_done;
  std::function<void(std::exception_ptr)> on_error;
};

struct SchedulerOptions {
  std::uint32_t context = 0, max_batch = 1, chunk = 1;
  // While a call for latency runs, those for throughput join only up to so many sequences, as do further ones for
  // latency; beside its decoding they generate, and prompts are read, as far as a pass has fewer rows (Parrot, section
  // 5.4: the load an engine may take is what the most urgent of its calls allows); 0: max_batch and chunk.
  std::uint32_t latency_batch = 0;
  bool prefix_cache = true;
  Drafter* drafter = nullptr;  // outlives the scheduler; may be null
  std::uint32_t draft_tokens = 0;
  SourceEncoder* encoder = nullptr;  // outlives the scheduler; null without one
};

struct SchedulerStats {
  std::uint64_t prompt_tokens = 0;  // of all prompts begun; prefix_hit_tokens of them were in the cache
  std::uint64_t prefix_hit_tokens = 0, prefill_tokens = 0, decode_tokens = 0, forward_passes = 0, preemptions = 0;
  std::uint64_t drafted_tokens = 0, accepted_tokens = 0;
  std::uint64_t unshared_prompt_tokens = 0;  // of prompt_tokens, those whose policy shares no prefixes
};

// Used by one thread at a time.
class Scheduler {
 public:
  Scheduler(model::ForwardContext& forward, cache::BlockPool& pool, const text::Tokenizer* tokenizer,
            const SchedulerOptions& options);
  ~Scheduler();

  // Throws for a job that can never run (empty prompt, a prompt that fills the context, impossible settings).
  void submit(Job job);
  bool idle() const { return waiting_.empty() && running_.empty(); }
  std::size_t waiting() const { return waiting_.size(); }
  std::size_t running() const { return running_.size(); }
  // One forward pass. `cancel`, when set, ends every job with StopReason::kCancelled.
  void step(const CancelToken* cancel);

  // Somebody else (a beam search) holds blocks of the pool until they leave: what does not fit meanwhile waits instead
  // of failing.
  void guest_came() { ++guests_; }
  void guest_left() { --guests_; }

  cache::PrefixTree& prefix_tree() { return tree_; }
  const cache::PrefixTree& prefix_tree() const { return tree_; }
  const SchedulerStats& stats() const { return stats_; }

 private:
  struct Sequence;
  using Sequences = std::list<std::unique_ptr<Sequence>>;
  void check_prompt(std::span<const text::TokenId> prompt) const;
  void admit();
  void encode_sources();
  std::uint64_t source_blocks(const Sequence& sequence) const;
  Sequences::iterator next_waiting(const std::vector<const Sequence*>& passed_over);
  bool batch_has_room_for(const Sequence& sequence) const;
  std::size_t rows_of_pass(const Sequence& sequence, std::size_t room, bool urgent) const;
  bool shares_prefixes(const Sequence& sequence) const;
  bool prefix_is_being_read(const Sequence& sequence, std::size_t cached) const;
  std::uint64_t blocks_promised() const;
  void end_cancelled(const CancelToken* cancel);
  bool make_room(std::uint64_t blocks, const Sequence& asking);
  void preempt(Sequences::iterator victim);
  void draft();
  void verify(Sequence& sequence, std::span<const std::vector<float>> rows);
  text::TokenId choose(Sequence& sequence, std::span<const float> logits);
  void accept(Sequence& sequence, std::span<const float> logits);
  void finish(Sequence& sequence, api::StopReason reason);
  void fail_job(Sequence& sequence, std::exception_ptr error);
  void retire();

  model::ForwardContext& forward_;
  cache::BlockPool& pool_;
  const text::Tokenizer* tokenizer_;
  SchedulerOptions options_;
  cache::PrefixTree tree_;
  FairShare share_;
  Sequences waiting_, running_;  // waiting_: by arrival, those to be recomputed first
  SchedulerStats stats_;
  std::size_t guests_ = 0;
};

}  // namespace lathe::engine
