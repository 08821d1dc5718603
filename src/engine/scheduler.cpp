#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/error.h"

namespace lathe::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// When nothing can be sampled, damaged weights are the reason, so the error names their file.
text::TokenId sample(Sampler& sampler, std::span<const float> logits, std::span<const text::TokenId> history,
                     const model::Model& model) {
  try {
    return sampler.sample(logits, history);
  } catch (const Error& error) {
    if (model.source().empty()) throw;
    throw error.within(model.source());
  }
}

}  // namespace

// A job on its way: its tokens so far, of which the first state->length() are in the cache.
struct Scheduler::Sequence {
  Job job;
  std::vector<text::TokenId> tokens;  // prompt, then generated
  std::size_t shared = 0;             // of the prompt, taken from the prefix tree
  std::unique_ptr<cache::PagedKv> state;
  Sampler sampler;
  StopMatcher stop;
  std::optional<text::StreamDecoder> decoder;
  api::GenerateResult result;
  Clock::time_point started, first_token;
  std::vector<const model::Adapter*> adapters;
  std::string scope;  // of its blocks in the prefix tree: everything but the tokens that decides what they hold
  bool begun = false, done = false;

  Sequence(Job j, const text::Tokenizer* tokenizer, std::string policy)
      : job(std::move(j)),
        tokens(job.prompt),
        sampler(job.request.sampling),
        stop(job.request.stop),
        scope(std::move(policy)) {
    for (const auto& adapter : job.adapters) {
      adapters.push_back(adapter.get());
      scope += '\n' + adapter->name;
    }
    if (tokenizer != nullptr && !tokens.empty())
      decoder.emplace(*tokenizer, text::DecodeOptions{.skip_special = true}, tokens.back());
  }
  std::size_t generated() const { return tokens.size() - job.prompt.size(); }
  std::size_t stored() const { return static_cast<std::size_t>(state->length()); }
  std::size_t pending() const { return tokens.size() - stored(); }
  // Keys of the first `count` tokens for the prefix tree.
  std::vector<std::uint64_t> content(std::size_t count) const {
    return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)};
  }
};

Scheduler::Scheduler(model::ForwardContext& forward, cache::BlockPool& pool, const text::Tokenizer* tokenizer,
                     const SchedulerOptions& options)
    : forward_(forward), pool_(pool), tokenizer_(tokenizer), options_(options), tree_(pool) {}

Scheduler::~Scheduler() = default;

void Scheduler::submit(Job job) {
  const std::size_t vocab = forward_.model().architecture().vocab_size;
  if (job.prompt.empty())
    throw Error("the prompt has no tokens", "request", "give a prompt; this tokenizer adds no BOS by itself");
  if (job.prompt.size() >= options_.context) {
    throw Error(fmt::format("the prompt has {} tokens, the context holds {}", job.prompt.size(), options_.context),
                "request", "raise the context (-c) or shorten the prompt");
  }
  for (const text::TokenId id : job.prompt) {
    if (id < 0 || static_cast<std::size_t>(id) >= vocab)
      fail("request", "token id {} is outside the vocabulary of {}", id, vocab);
  }
  validate(job.request.sampling, vocab);
  const auto later = [&](const auto& other) { return other->job.goal > job.goal; };
  waiting_.insert(std::find_if(waiting_.begin(), waiting_.end(), later),
                  std::make_unique<Sequence>(std::move(job), tokenizer_, options_.policy->name()));
}

// Moves waiting sequences into the batch while there is room for their prompts.
void Scheduler::admit() {
  const std::uint64_t block = pool_.layout().block_tokens;
  while (!waiting_.empty() && running_.size() < options_.max_batch) {
    Sequence& next = *waiting_.front();
    std::vector<cache::BlockRef> prefix;
    if (options_.prefix_cache) {
      // The last token is always computed: its logits are what generation starts from.
      prefix = tree_.lookup(next.scope, next.content(next.tokens.size() - 1));
    }
    const std::uint64_t needed = (next.tokens.size() + block) / block - prefix.size();
    if (pool_.free_blocks() < needed && !tree_.evict(needed) && !running_.empty()) return;
    next.shared = prefix.size() * block;
    next.state = std::make_unique<cache::PagedKv>(pool_, options_.policy, std::move(prefix));
    if (!next.begun) {
      next.begun = true;
      next.started = Clock::now();
      next.result.cached_prompt_tokens = static_cast<std::uint32_t>(next.shared);
      stats_.prefix_hit_tokens += next.shared;
    }
    running_.splice(running_.end(), waiting_, waiting_.begin());
  }
}

// Frees blocks: first cached prefixes nobody uses, then younger sequences than the one asking.
bool Scheduler::make_room(std::uint64_t blocks, const Sequence& asking) {
  while (pool_.free_blocks() < blocks && !tree_.evict(blocks)) {
    const auto youngest = std::prev(running_.end());
    if (youngest->get() == &asking) return false;
    preempt(youngest);
  }
  return true;
}

void Scheduler::preempt(Sequences::iterator victim) {
  (*victim)->state.reset();
  ++stats_.preemptions;
  waiting_.splice(waiting_.begin(), running_, victim);
}

void Scheduler::step(const CancelToken* cancel) {
  if (cancel != nullptr && cancel->cancelled()) {
    for (auto& sequence : waiting_) finish(*sequence, api::StopReason::kCancelled);
    for (auto& sequence : running_) finish(*sequence, api::StopReason::kCancelled);
    retire();
    return;
  }
  admit();

  // Decoding sequences first, one row each; what is left of the chunk goes to prompts, oldest first.
  std::vector<Sequence*> batch;
  std::vector<std::size_t> counts;
  std::size_t room = options_.chunk;
  std::uint64_t claimed = 0;  // blocks that the batch so far will take
  for (const bool decoding : {true, false}) {
    for (auto it = running_.begin(); it != running_.end() && room > 0; ++it) {
      Sequence& sequence = **it;
      if ((sequence.pending() == 1) != decoding) continue;
      const std::size_t count = std::min(sequence.pending(), room);
      const std::uint64_t needed = sequence.state->blocks_needed(count);
      if (!make_room(claimed + needed, sequence)) {
        // Even alone it does not fit, or it is the youngest: it waits, unless nothing else could ever free a block.
        if (running_.size() == 1) {
          fail_job(sequence, std::make_exception_ptr(
                                 cache::OutOfBlocks(fmt::format("{} tokens do not fit the KV budget of {} blocks",
                                                                sequence.tokens.size(), pool_.total_blocks()),
                                                    "KV cache", "use a shorter context or a larger budget")));
        } else {
          preempt(it);
        }
        break;
      }
      batch.push_back(&sequence);
      counts.push_back(count);
      room -= count;
      claimed += needed;
    }
  }
  // A preemption above may have hit a sequence that was already in the batch.
  for (std::size_t i = batch.size(); i-- > 0;) {
    if (batch[i]->state == nullptr || batch[i]->done) {
      batch.erase(batch.begin() + static_cast<std::ptrdiff_t>(i));
      counts.erase(counts.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  std::vector<model::Segment> segments(batch.size());
  std::vector<model::SequenceInput> inputs(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    segments[i].tokens = std::span(batch[i]->tokens).subspan(batch[i]->stored(), counts[i]);
    inputs[i] = {batch[i]->state.get(), std::span(&segments[i], 1),
                 counts[i] == batch[i]->pending() ? model::Want::kLast : model::Want::kNothing, batch[i]->adapters};
    (batch[i]->generated() > 0 && counts[i] == 1 ? stats_.decode_tokens : stats_.prefill_tokens) += counts[i];
  }
  std::vector<std::pair<Sequence*, std::vector<float>>> logits;
  try {
    forward_.forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
      logits.emplace_back(batch[i], std::vector<float>(row.begin(), row.end()));
    });
    ++stats_.forward_passes;
  } catch (...) {
    logits.clear();
    for (Sequence* sequence : batch) fail_job(*sequence, std::current_exception());
  }
  for (auto& [sequence, row] : logits) accept(*sequence, row);
  retire();
}

text::TokenId Scheduler::choose(Sequence& sequence, std::span<const float> logits) {
  LogitsProcessor* const processor = sequence.job.processor.get();
  if (processor == nullptr) return sample(sequence.sampler, logits, sequence.tokens, forward_.model());
  std::vector<float> processed(logits.begin(), logits.end());  // log-probabilities are of what the model said
  processor->process(processed, sequence.tokens);
  const text::TokenId id = sample(sequence.sampler, processed, sequence.tokens, forward_.model());
  processor->accept(id);
  return id;
}

// Samples the next token and decides whether it was the last.
void Scheduler::accept(Sequence& sequence, std::span<const float> logits) try {
  const api::GenerateRequest& request = sequence.job.request;
  if (sequence.generated() == 0) sequence.first_token = Clock::now();
  if (sequence.generated() >= request.max_tokens) return finish(sequence, api::StopReason::kLength);
  const text::TokenId id = choose(sequence, logits);
  if (!request.ignore_eos && tokenizer_ != nullptr) {
    const auto& ends = tokenizer_->special().end_of_generation;
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) return finish(sequence, api::StopReason::kEos);
  }
  sequence.tokens.push_back(id);
  sequence.result.tokens.push_back(request.logprobs > 0 ? token_logprobs(logits, id, request.logprobs)
                                                        : api::GeneratedToken{id, 0, {}});
  if (sequence.decoder) {
    const std::string shown = sequence.stop.push(sequence.decoder->push(id));
    sequence.result.text += shown;
    if (!shown.empty() && sequence.job.on_text && !sequence.job.on_text(shown))
      return finish(sequence, api::StopReason::kCancelled);
    if (sequence.stop.stopped()) return finish(sequence, api::StopReason::kStopString);
  }
  if (sequence.job.processor != nullptr && sequence.job.processor->finished())
    return finish(sequence, api::StopReason::kEos);
  if (sequence.generated() >= request.max_tokens) return finish(sequence, api::StopReason::kLength);
  if (sequence.tokens.size() >= options_.context) return finish(sequence, api::StopReason::kContextFull);
} catch (...) {
  fail_job(sequence, std::current_exception());
}

void Scheduler::finish(Sequence& sequence, api::StopReason reason) {
  const auto now = Clock::now();
  api::GenerateResult& result = sequence.result;
  if (sequence.decoder && !sequence.stop.stopped()) {
    const std::string rest = sequence.stop.push(sequence.decoder->finish()) + sequence.stop.flush();
    result.text += rest;
    if (!rest.empty() && sequence.job.on_text) sequence.job.on_text(rest);
  }
  result.prompt_ids = sequence.job.prompt;
  result.stop_reason = reason;
  if (sequence.begun && sequence.first_token != Clock::time_point{}) {
    result.prefill_seconds = seconds_between(sequence.started, sequence.first_token);
    result.decode_seconds = seconds_between(sequence.first_token, now);
  }
  if (sequence.state != nullptr && options_.prefix_cache)
    tree_.insert(sequence.scope, sequence.content(sequence.stored()), sequence.state->blocks());
  sequence.done = true;
  sequence.job.on_done(std::move(result));
}

void Scheduler::retire() {
  const auto done = [](const auto& sequence) { return sequence->done; };
  running_.remove_if(done);
  waiting_.remove_if(done);
}

void Scheduler::fail_job(Sequence& sequence, std::exception_ptr error) {
  sequence.done = true;
  sequence.job.on_error(error);
}

}  // namespace lathe::engine
