#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace lathe::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// When nothing can be sampled and no setting is to blame, damaged weights are, so the error names their file.
text::TokenId sample(Sampler& sampler, std::span<const float> logits, std::span<const text::TokenId> history,
                     const model::Model& model) {
  try {
    return sampler.sample(logits, history);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    if (model.source().empty()) throw;
    throw error.within(model.source());
  }
}

}  // namespace

// A job on its way: its tokens so far, of which the first state->length() are in the cache.
struct Scheduler::Sequence {
  Job job;
  std::vector<text::TokenId> tokens;  // prompt (or what decoders behind an encoder begin with), then generated
  std::size_t beginning;              // how many were not generated
  std::shared_ptr<const cache::SourceKv> source;  // of decoders behind an encoder
  std::size_t shared = 0;                         // of the prompt, taken from the prefix tree
  std::unique_ptr<cache::PagedKv> state;
  std::unique_ptr<DraftState> draft_state;
  std::vector<text::TokenId> draft;  // guessed tokens after the last one, for the pass at hand
  Sampler sampler;
  StopMatcher stop;
  std::optional<text::StreamDecoder> decoder;
  api::GenerateResult result;
  Clock::time_point started, first_token;
  std::vector<const model::Adapter*> adapters;
  std::string scope;         // of its blocks in the prefix tree: everything but the tokens that decides what they hold
  std::size_t reported = 0;  // tokens that on_text has seen
  bool begun = false, done = false;
  bool in_frame = false;  // stop strings count no more

  Sequence(Job j, const text::Tokenizer* tokenizer, const SourceEncoder* encoder)
      : job(std::move(j)),
        tokens(encoder == nullptr ? job.prompt : encoder->beginning()),
        beginning(tokens.size()),
        sampler(job.request.sampling, beginning),
        stop(job.request.stop),
        scope(job.policy->name()) {
    for (const auto& adapter : job.adapters) {
      adapters.push_back(adapter.get());
      scope += fmt::format("\n{:016x}", adapter->fingerprint);
    }
    if (tokenizer != nullptr && !tokens.empty())
      decoder.emplace(*tokenizer, text::DecodeOptions{.skip_special = !job.request.show_special}, tokens.back());
  }
  std::size_t generated() const { return tokens.size() - beginning; }
  std::size_t stored() const { return static_cast<std::size_t>(state->length()); }
  std::size_t pending() const { return tokens.size() - stored(); }
  Goal goal() const { return job.standing->goal.load(std::memory_order_relaxed); }
  bool cancelled() const { return job.cancel != nullptr && job.cancel->cancelled(); }
  // Hands over text and the tokens since the last time; false when the job is to be cancelled.
  bool report(std::string_view text) {
    const std::span<const api::GeneratedToken> fresh = std::span(result.tokens).subspan(reported);
    reported = result.tokens.size();
    return !job.on_text || job.on_text({text, fresh});
  }
  // Of the prompt, which an encoder has read whole before its decoders begin.
  std::size_t read() const { return source != nullptr ? job.prompt.size() : std::min(stored(), beginning); }
  // Text that can be shown, up to a stop string. Within a frame that knows none they count up to its trigger.
  std::string show(const std::string& text) {
    const api::GrammarFrame& frame = job.request.frame;
    if (frame.stops || in_frame || job.processor == nullptr || !job.processor->holds()) return stop.push(text);
    in_frame = true;
    const std::string all = result.text + stop.held() + text;
    const std::size_t before = all.size() - text.size();
    // The trigger ends within this text.
    const std::size_t at = all.find(frame.trigger, before - std::min(before, frame.trigger.size()));
    return stop.push_last(text, at == std::string::npos ? 0 : all.size() - (at + frame.trigger.size()));
  }
  // What the next pass may read: tokens the cache lacks, and behind them the guess.
  std::vector<text::TokenId> unread() const {
    std::vector<text::TokenId> ids(tokens.begin() + static_cast<std::ptrdiff_t>(stored()), tokens.end());
    ids.insert(ids.end(), draft.begin(), draft.end());
    return ids;
  }
  // Keys of the first `count` tokens for the prefix tree.
  std::vector<std::uint64_t> content(std::size_t count) const {
    return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)};
  }
};

Scheduler::Scheduler(model::ForwardContext& forward, cache::BlockPool& pool, const text::Tokenizer* tokenizer,
                     const SchedulerOptions& options)
    : forward_(forward), pool_(pool), tokenizer_(tokenizer), options_(options), tree_(pool) {}

Scheduler::~Scheduler() = default;

void Scheduler::check_prompt(std::span<const text::TokenId> prompt) const {
  if (options_.encoder != nullptr) return options_.encoder->check(prompt);
  const std::size_t vocab = forward_.model().architecture().vocab_size;
  if (prompt.empty())
    throw Error("the prompt has no tokens", "request", "give a prompt; this tokenizer adds no BOS by itself");
  if (prompt.size() >= options_.context) {
    throw Error(fmt::format("the prompt has {} tokens, the context holds {}", prompt.size(), options_.context),
                "request", "raise the context (-c) or shorten the prompt");
  }
  for (const text::TokenId id : prompt) {
    if (id < 0 || static_cast<std::size_t>(id) >= vocab)
      fail("request", "token id {} is outside the vocabulary of {}", id, vocab);
  }
}

void Scheduler::submit(Job job) {
  check_prompt(job.prompt);
  validate(job.request.sampling, forward_.model().architecture().vocab_size);
  share_.arrive(job.client);
  waiting_.push_back(std::make_unique<Sequence>(std::move(job), tokenizer_, options_.encoder));
}

// Who goes next: one to be recomputed, then by priority, goal, the client's share so far, its program, and arrival.
Scheduler::Sequences::iterator Scheduler::next_waiting(const std::vector<const Sequence*>& passed_over) {
  const auto rank = [&](const Sequence& s) {
    return std::tuple(!s.begun, -static_cast<std::int64_t>(s.job.priority), s.goal(), share_.served(s.job.client),
                      s.job.standing->program, -static_cast<std::int64_t>(s.job.standing->depth));
  };
  auto best = waiting_.end();
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    if (std::find(passed_over.begin(), passed_over.end(), it->get()) != passed_over.end()) continue;
    if (best == waiting_.end() || rank(**it) < rank(**best)) best = it;
  }
  return best;
}

// Whether one more is bearable for the calls for latency that run.
bool Scheduler::batch_has_room_for(const Sequence& sequence) const {
  if (options_.latency_batch == 0) return true;
  const auto urgent = static_cast<std::size_t>(std::count_if(
      running_.begin(), running_.end(), [](const auto& other) { return other->goal() == Goal::kLatency; }));
  if (sequence.goal() == Goal::kLatency) return urgent < options_.latency_batch;
  return urgent == 0 || running_.size() < options_.latency_batch;
}

// How much of what the sequence has to read stands in the next pass, which has `room` more rows; `urgent` when a call
// for latency decodes in it. A guess takes what room there is.
std::size_t Scheduler::rows_of_pass(const Sequence& sequence, std::size_t room, bool urgent) const {
  const cache::KvPolicy& policy = *sequence.job.policy;
  std::size_t wanted = sequence.pending() + sequence.draft.size();
  // What a memory shows to the tokens of a pass depends on all of them: a sequence that was set back is read again in
  // the passes of the first time, its prompt by itself and what was generated token by token.
  if (policy.memory() != nullptr)
    wanted = sequence.stored() < sequence.beginning ? sequence.beginning - sequence.stored() : 1;
  if (urgent && (sequence.pending() > 1 || sequence.goal() == Goal::kThroughput)) {
    const std::size_t taken = options_.chunk - room;
    if (taken >= options_.latency_batch) return 0;
    const std::size_t bearable = std::min<std::size_t>(room, options_.latency_batch - taken);
    // A policy whose steps are larger reads whole ones all the same: it would never get on otherwise.
    if (const std::size_t count = policy.rows_of_pass(sequence.stored(), wanted, bearable); count > 0) return count;
  }
  return policy.rows_of_pass(sequence.stored(), wanted, room);
}

bool Scheduler::shares_prefixes(const Sequence& sequence) const {
  return options_.prefix_cache && sequence.job.policy->shares_prefixes();
}

// Whether a running sequence is computing blocks that `sequence` could share, beyond the `cached` tokens it has.
bool Scheduler::prefix_is_being_read(const Sequence& sequence, std::size_t cached) const {
  const std::size_t block = pool_.layout().block_tokens;
  return std::any_of(running_.begin(), running_.end(), [&](const auto& other) {
    if (other->pending() <= 1 || other->scope != sequence.scope) return false;
    const auto end = sequence.tokens.end() - 1;  // the last token is computed in any case
    const auto common = std::mismatch(sequence.tokens.begin(), end, other->tokens.begin(), other->tokens.end()).first;
    return static_cast<std::size_t>(common - sequence.tokens.begin()) / block * block > cached;
  });
}

// Blocks that the sequence's source text will take.
std::uint64_t Scheduler::source_blocks(const Sequence& sequence) const {
  const bool waits = options_.encoder != nullptr && sequence.source == nullptr;
  return waits ? options_.encoder->blocks_needed(sequence.job.prompt.size()) : 0;
}

// Blocks that the tokens at hand of running sequences will still take.
std::uint64_t Scheduler::blocks_promised() const {
  std::uint64_t blocks = 0;
  for (const auto& sequence : running_)
    blocks += sequence->state->blocks_needed(sequence->pending()) + source_blocks(*sequence);
  return blocks;
}

// Moves waiting sequences into the batch while there is room for their prompts.
void Scheduler::admit() {
  const std::uint64_t block = pool_.layout().block_tokens;
  std::vector<const Sequence*> passed_over;  // they wait for blocks that are being computed, or for a smaller batch
  while (running_.size() < options_.max_batch) {
    const auto it = next_waiting(passed_over);
    if (it == waiting_.end()) return;
    Sequence& next = **it;
    if (!batch_has_room_for(next)) {
      passed_over.push_back(&next);
      continue;
    }
    std::vector<cache::BlockRef> prefix;
    if (shares_prefixes(next)) {
      // The last token is always computed: its logits are what generation starts from.
      prefix = tree_.lookup(next.scope, next.content(next.tokens.size() - 1));
      if (prefix_is_being_read(next, prefix.size() * block)) {
        passed_over.push_back(&next);
        continue;
      }
    }
    const std::uint64_t needed =
        blocks_promised() + (next.tokens.size() + block) / block - prefix.size() + source_blocks(next);
    if (pool_.free_blocks() < needed && !tree_.evict(needed) && (!running_.empty() || guests_ > 0)) return;
    next.shared = prefix.size() * block;
    next.state = std::make_unique<cache::PagedKv>(pool_, next.job.policy, std::move(prefix));
    if (!next.begun) {
      next.begun = true;
      next.started = Clock::now();
      next.result.cached_prompt_tokens = static_cast<std::uint32_t>(next.shared);
      stats_.prompt_tokens += next.job.prompt.size();
      stats_.prefix_hit_tokens += next.shared;
      if (!next.job.policy->shares_prefixes()) stats_.unshared_prompt_tokens += next.job.prompt.size();
      if (next.job.on_begin) next.job.on_begin(next.result.cached_prompt_tokens);
    }
    running_.splice(running_.end(), waiting_, it);
  }
}

// Reads the source texts of sequences just admitted, several in a pass; one that several sequences have is read once.
void Scheduler::encode_sources() {
  if (options_.encoder == nullptr) return;
  for (;;) {
    std::vector<Sequence*> batch;
    std::vector<SourceText> texts;
    std::size_t rows = 0;
    for (const auto& sequence : running_) {
      if (sequence->source != nullptr || sequence->done) continue;
      const auto same = std::find_if(running_.begin(), running_.end(), [&](const auto& other) {
        return other->source != nullptr && other->scope == sequence->scope && other->job.prompt == sequence->job.prompt;
      });
      if (same != running_.end()) {
        sequence->source = (*same)->source;
        continue;
      }
      const bool twin = std::any_of(batch.begin(), batch.end(), [&](const Sequence* other) {
        return other->scope == sequence->scope && other->job.prompt == sequence->job.prompt;
      });
      if (twin || rows + sequence->job.prompt.size() > options_.encoder->max_rows()) continue;
      rows += sequence->job.prompt.size();
      batch.push_back(sequence.get());
      texts.push_back({sequence->job.prompt, sequence->adapters});
    }
    if (batch.empty()) return retire();
    try {
      const auto sources = options_.encoder->encode(texts);
      ++stats_.forward_passes;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        batch[i]->source = sources[i];
        stats_.prefill_tokens += batch[i]->job.prompt.size();
        share_.charge(batch[i]->job.client, batch[i]->job.prompt.size(), 0);
      }
    } catch (...) {
      for (Sequence* sequence : batch) fail_job(*sequence, std::current_exception());
    }
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
  (*victim)->source.reset();
  (*victim)->draft_state.reset();
  (*victim)->draft.clear();
  ++stats_.preemptions;
  waiting_.splice(waiting_.begin(), running_, victim);
}

void Scheduler::end_cancelled(const CancelToken* cancel) {
  const bool all = cancel != nullptr && cancel->cancelled();
  for (Sequences* sequences : {&waiting_, &running_}) {
    for (auto& sequence : *sequences) {
      if (all || sequence->cancelled()) finish(*sequence, api::StopReason::kCancelled);
    }
  }
  retire();
}

void Scheduler::step(const CancelToken* cancel) {
  end_cancelled(cancel);
  admit();
  encode_sources();
  if (running_.empty()) return;
  draft();

  // Decoding sequences first, one row each, those for latency before the others; what is left of the chunk goes to
  // prompts, oldest first.
  std::vector<Sequence*> batch;
  std::vector<std::size_t> counts;
  std::size_t room = options_.chunk;
  std::uint64_t claimed = 0;  // blocks that the batch so far will take
  const bool urgent = options_.latency_batch > 0 && std::any_of(running_.begin(), running_.end(), [](const auto& one) {
                        return one->goal() == Goal::kLatency && one->pending() == 1;
                      });
  for (const int turn : {0, 1, 2}) {
    for (auto it = running_.begin(); it != running_.end() && room > 0; ++it) {
      Sequence& sequence = **it;
      if (turn != (sequence.pending() > 1 ? 2 : sequence.goal() == Goal::kLatency ? 0 : 1)) continue;
      std::size_t count = rows_of_pass(sequence, room, urgent);
      if (count == 0) continue;
      const std::uint64_t wanted = claimed + sequence.state->blocks_needed(count);
      if (!sequence.draft.empty() && pool_.free_blocks() < wanted && !tree_.evict(wanted)) {
        sequence.draft.clear();
        count = 1;
      }
      const std::uint64_t needed = sequence.state->blocks_needed(count);
      if (!make_room(claimed + needed, sequence)) {
        // Even alone it does not fit, or it is the youngest: it waits, unless nothing else could ever free a block.
        if (running_.size() == 1 && guests_ == 0) {
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

  if (batch.empty()) return retire();  // what failed, or waits for guests to leave

  std::vector<std::vector<text::TokenId>> ids(batch.size());
  std::vector<model::Segment> segments(batch.size());
  std::vector<model::SequenceInput> inputs(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Sequence& sequence = *batch[i];
    ids[i] = sequence.unread();
    ids[i].resize(counts[i]);
    segments[i].tokens = ids[i];
    const std::size_t pending = sequence.pending();
    inputs[i] = {sequence.state.get(), std::span(&segments[i], 1),
                 counts[i] < pending    ? model::Want::kNothing
                 : counts[i] == pending ? model::Want::kLast
                                        : model::Want::kAll,
                 sequence.adapters, sequence.source.get()};
    // Guesses are on the house.
    const std::size_t known = std::min(counts[i], pending);
    const bool decodes = sequence.generated() > 0 && pending == 1;
    (decodes ? stats_.decode_tokens : stats_.prefill_tokens) += known;
    share_.charge(sequence.job.client, decodes ? 0 : known, decodes ? known : 0);
  }
  std::vector<std::vector<std::vector<float>>> logits(batch.size());  // by sequence and row
  try {
    // Rows count from verify() on: of a guess only those that were right.
    forward_.forward(inputs, {.commit = false}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
      logits[i].emplace_back(row.begin(), row.end());
    });
    ++stats_.forward_passes;
  } catch (...) {
    for (Sequence* sequence : batch) fail_job(*sequence, std::current_exception());
    return retire();
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Sequence& sequence = *batch[i];
    sequence.state->commit(std::min(counts[i], sequence.pending()));
    if (!logits[i].empty()) {
      // A prompt just read is shared from here on, not only once its answer is complete.
      if (shares_prefixes(sequence) && sequence.generated() == 0)
        tree_.insert(sequence.scope, sequence.content(sequence.stored()), sequence.state->blocks());
      verify(sequence, logits[i]);
    }
    if (!sequence.done && sequence.job.on_progress)
      sequence.job.on_progress(static_cast<std::uint32_t>(sequence.read()),
                               static_cast<std::uint32_t>(sequence.generated()));
  }
  retire();
}

// Asks for guesses for the sequences that decode.
void Scheduler::draft() {
  if (options_.drafter == nullptr) return;
  std::vector<Sequence*> guessed;
  std::vector<DraftTask> tasks;
  for (const auto& sequence : running_) {
    Sequence& s = *sequence;
    s.draft.clear();
    if (s.generated() == 0 || s.pending() != 1) continue;
    const std::size_t left =
        std::min<std::size_t>(s.job.request.max_tokens - s.generated(), options_.context - s.tokens.size());
    const std::size_t most = std::min<std::size_t>(options_.draft_tokens, left - 1);  // one comes without a guess
    if (most == 0) continue;
    if (s.draft_state == nullptr) s.draft_state = options_.drafter->begin();
    guessed.push_back(&s);
    tasks.push_back({s.draft_state.get(), s.tokens, most, s.sampler.fork(), s.job.processor.get(), s.adapters, {}});
  }
  if (tasks.empty()) return;
  try {
    options_.drafter->draft(tasks);
  } catch (...) {
    for (Sequence* sequence : guessed) fail_job(*sequence, std::current_exception());
    return retire();
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) guessed[i]->draft = std::move(tasks[i].draft);
}

// Chooses the tokens that follow the rows of a pass: the first as always, another for each guess that was right.
void Scheduler::verify(Sequence& sequence, std::span<const std::vector<float>> rows) {
  sequence.result.drafted_tokens += static_cast<std::uint32_t>(rows.size() - 1);
  stats_.drafted_tokens += rows.size() - 1;
  for (std::size_t i = 0;; ++i) {
    accept(sequence, rows[i]);
    if (sequence.done || i + 1 == rows.size() || sequence.tokens.back() != sequence.draft[i]) return;
    sequence.state->commit(1);
    ++sequence.result.accepted_tokens;
    ++stats_.accepted_tokens;
  }
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
    const std::string shown = sequence.show(sequence.decoder->push(id));
    sequence.result.text += shown;
    if (!shown.empty() && !sequence.report(shown)) return finish(sequence, api::StopReason::kCancelled);
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
    if (!rest.empty()) sequence.report(rest);
  }
  result.prompt_ids = sequence.job.prompt;
  result.stop_reason = reason;
  if (sequence.begun && sequence.first_token != Clock::time_point{}) {
    result.prefill_seconds = seconds_between(sequence.started, sequence.first_token);
    result.decode_seconds = seconds_between(sequence.first_token, now);
  }
  if (sequence.state != nullptr && shares_prefixes(sequence))
    tree_.insert(sequence.scope, sequence.content(sequence.stored()), sequence.state->blocks());
  sequence.done = true;
  sequence.job.on_done(std::move(result));
}

void Scheduler::retire() {
  const auto done = [&](const auto& sequence) {
    if (sequence->done) share_.leave(sequence->job.client);
    return sequence->done;
  };
  running_.remove_if(done);
  waiting_.remove_if(done);
}

void Scheduler::fail_job(Sequence& sequence, std::exception_ptr error) {
  sequence.done = true;
  sequence.job.on_error(std::move(error));
}

}  // namespace lathe::engine
