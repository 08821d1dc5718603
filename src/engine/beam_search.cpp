#include "engine/beam_search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>

#include "base/error.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/session_state.h"

namespace lathe::engine {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint32_t kMostBeams = 1024;

struct Next {
  double logprob;  // of the token alone
  text::TokenId id;
};

// A beginning: what was generated, the cache that holds it all but for the last token, and the likeliest tokens to come
// next.
struct Beam {
  std::vector<api::GeneratedToken> tokens;
  double logprob = 0;
  LogitsProcessor::Place place = 0;
  std::unique_ptr<cache::PagedKv> state;
  std::vector<Next> next;
};

// A way to go on.
struct Candidate {
  double logprob;  // of the whole text
  std::size_t beam;
  Next token;
};

struct Finished {
  std::vector<api::GeneratedToken> tokens;
  double logprob, score;
  api::StopReason reason;
};

// The `keep` first in that order, sorted.
template <class T, class Before>
void keep_first(std::vector<T>& all, std::size_t keep, Before before) {
  keep = std::min(keep, all.size());
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(keep);
  std::partial_sort(all.begin(), end, all.end(), before);
  all.erase(end, all.end());
}

}  // namespace

void validate(const BeamOptions& options) {
  if (options.beams == 0 || options.beams > kMostBeams)
    throw UsageError(fmt::format("{} beams, expected 1 to {}", options.beams, kMostBeams), "beam search");
  if (options.results == 0 || options.results > options.beams)
    throw UsageError(
        fmt::format("{} results of {} beams, expected 1 to {}", options.results, options.beams, options.beams),
        "beam search");
  if (!std::isfinite(options.length_penalty))
    throw UsageError(fmt::format("length_penalty is {}, expected a number", options.length_penalty), "beam search");
}

double beam_score(double logprob, std::size_t length, double length_penalty) {
  return logprob / std::pow((5.0 + static_cast<double>(length)) / 6.0, length_penalty);
}

class Session::BeamSearch {
 public:
  BeamSearch(State& state, const api::GenerateRequest& request, const BeamOptions& options)
      : state_(state), request_(request), options_(options), started_(Clock::now()) {
    for (const api::AdapterUse& use : request.adapters) {
      held_.push_back(state.adapter(use));
      adapters_.push_back(held_.back().get());
    }
    policy_ = state.policy_for(request.kv_policy);
    if (policy_->memory() != nullptr)
      throw UsageError("a context memory cannot be continued in several ways", "beam search",
                       "use the KV policy full or sinks");
    processor_ = state.constraints.processor_for(request);
    if (state.tokenizer != nullptr) writing_ = &state.tokenizer->target();
    prompt_ = request.prompt_ids;
    if (prompt_.empty()) {
      if (state.tokenizer == nullptr) throw Error("the model has no tokenizer", "request", "pass token ids");
      prompt_ = state.tokenizer->encode(request.prompt, {request.add_special, request.parse_special});
    }
    if (prompt_.empty()) throw Error("the prompt has no tokens", "request", "give a prompt");
    if (state.encoder != nullptr) {
      state.encoder->check(prompt_);
      beginning_ = state.encoder->beginning();
    } else {
      beginning_ = prompt_;
    }
    if (beginning_.size() >= state.options.context) {
      throw Error(fmt::format("the prompt has {} tokens, the context holds {}", prompt_.size(), state.options.context),
                  "request", "raise the context (-c) or shorten the prompt");
    }
    longest_ = std::min<std::size_t>(request.max_tokens, state.options.context - beginning_.size());
  }

  // One pass of the model (as many as the beams need): a piece of the prompt, then a token of every beam. False when
  // the search is over.
  bool step() {
    if (cancelled_ || (state_.cancel != nullptr && state_.cancel->cancelled()))
      return end_all(api::StopReason::kCancelled);
    if (longest_ == 0) return end_all(api::StopReason::kLength);
    if (read_ < beginning_.size()) {
      read_prompt();
      if (read_ < beginning_.size()) return true;
    } else {
      read_last_tokens();
    }
    extend();
    if (live_.empty() || settled()) return false;
    if (live_.front().tokens.size() == longest_)
      return end_all(longest_ < request_.max_tokens ? api::StopReason::kContextFull : api::StopReason::kLength);
    return true;
  }

  // The next step is the last.
  void cancel() { cancelled_ = true; }
  // Of every live beam.
  std::uint32_t length() const { return live_.empty() ? 0 : static_cast<std::uint32_t>(live_.front().tokens.size()); }

  // Gives the blocks back.
  void release() { live_.clear(), source_.reset(); }

  std::vector<BeamResult> results() {
    std::stable_sort(finished_.begin(), finished_.end(),
                     [](const auto& a, const auto& b) { return a.score > b.score; });
    if (finished_.size() > options_.results) finished_.resize(options_.results);
    std::vector<BeamResult> all;
    for (Finished& one : finished_) {
      BeamResult beam{{}, one.logprob, one.score};
      beam.result.text = text_of(one.tokens).text;
      beam.result.prompt_ids = prompt_;
      beam.result.tokens = std::move(one.tokens);
      beam.result.stop_reason = one.reason;
      beam.result.prefill_seconds = std::chrono::duration<double>(prompt_read_ - started_).count();
      beam.result.decode_seconds = std::chrono::duration<double>(Clock::now() - prompt_read_).count();
      all.push_back(std::move(beam));
    }
    return all;
  }

 private:
  void make_room(std::uint64_t blocks) {
    if (state_.pool.free_blocks() < blocks && !state_.scheduler.prefix_tree().evict(blocks)) {
      throw cache::OutOfBlocks(
          fmt::format("{} beams do not fit the KV budget of {} blocks", options_.beams, state_.pool.total_blocks()),
          "KV cache", "use fewer beams, a shorter context or a larger budget");
    }
  }

  // As much of it as a pass holds.
  void read_prompt() {
    if (live_.empty()) {
      Beam& first = live_.emplace_back();
      first.state = std::make_unique<cache::PagedKv>(state_.pool, policy_);
      if (processor_ != nullptr) first.place = processor_->place();
      if (state_.encoder != nullptr) {
        make_room(state_.encoder->blocks_needed(prompt_.size()));
        source_ = state_.encoder->encode({prompt_, adapters_});
      }
    }
    Beam& beam = live_.front();
    const std::size_t count = std::min<std::size_t>(beginning_.size() - read_, state_.forward.max_rows());
    make_room(beam.state->blocks_needed(count));
    const model::Segment segment{std::span(beginning_).subspan(read_, count)};
    const bool last = read_ + count == beginning_.size();
    const model::SequenceInput input{
        beam.state.get(), {&segment, 1}, last ? model::Want::kLast : model::Want::kNothing, adapters_, source_.get()};
    state_.forward.forward(
        {&input, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float> logits) { look_ahead(beam, logits); });
    read_ += count;
    prompt_read_ = Clock::now();
  }

  void read_last_tokens() {
    for (std::size_t begin = 0; begin < live_.size();) {
      const std::size_t count = std::min<std::size_t>(live_.size() - begin, state_.forward.max_rows());
      const auto batch = std::span(live_).subspan(begin, count);
      std::vector<text::TokenId> ids(count);
      std::vector<model::Segment> segments(count);
      std::vector<model::SequenceInput> inputs(count);
      std::uint64_t blocks = 0;
      for (std::size_t i = 0; i < count; ++i) {
        ids[i] = batch[i].tokens.back().id;
        segments[i].tokens = {&ids[i], 1};
        inputs[i] = {batch[i].state.get(), {&segments[i], 1}, model::Want::kLast, adapters_, source_.get()};
        blocks += batch[i].state->blocks_needed(1);
      }
      make_room(blocks);
      state_.forward.forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> logits) {
        look_ahead(batch[i], logits);
      });
      begin += count;
    }
  }

  // The probabilities are the model's; a grammar only forbids.
  void look_ahead(Beam& beam, std::span<const float> logits) {
    const double normaliser = log_sum_exp(logits);
    processed_.assign(logits.begin(), logits.end());
    if (processor_ != nullptr) {
      processor_->go_to(beam.place);
      processor_->process(processed_, {});
    }
    beam.next.clear();
    for (std::size_t id = 0; id < processed_.size(); ++id) {
      if (processed_[id] > -std::numeric_limits<float>::infinity())  // never true for NaN
        beam.next.push_back({processed_[id] - normaliser, static_cast<text::TokenId>(id)});
    }
    // As many as can matter: end tokens take no beam's place.
    keep_first(beam.next, options_.beams + end_tokens().size(), [](const Next& a, const Next& b) {
      return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
    });
  }

  std::span<const text::TokenId> end_tokens() const {
    if (request_.ignore_eos || writing_ == nullptr) return {};
    return writing_->special().end_of_generation;
  }

  // The best ways to go on, likeliest first.
  std::vector<Candidate> candidates() const {
    std::vector<Candidate> all;
    for (std::size_t beam = 0; beam < live_.size(); ++beam) {
      for (const Next& next : live_[beam].next) all.push_back({live_[beam].logprob + next.logprob, beam, next});
    }
    keep_first(all, options_.beams + live_.size() * end_tokens().size(), [](const Candidate& a, const Candidate& b) {
      if (a.logprob != b.logprob) return a.logprob > b.logprob;
      return a.beam != b.beam ? a.beam < b.beam : a.token.id < b.token.id;
    });
    return all;
  }

  // Replaces the beams by the best ways to go on with them.
  void extend() {
    const std::vector<Candidate> ways = candidates();
    if (ways.empty() && finished_.empty()) fail("beam search", "no token can follow: every logit is NaN or -infinity");
    std::vector<Beam> longer;
    std::vector<std::size_t> parents;
    for (const Candidate& way : ways) {
      if (longer.size() == options_.beams) break;
      const Beam& parent = live_[way.beam];
      const auto ends = end_tokens();
      if (std::find(ends.begin(), ends.end(), way.token.id) != ends.end()) {
        finish(parent.tokens, way.logprob, parent.tokens.size() + 1, api::StopReason::kEos);
        continue;
      }
      Beam beam{parent.tokens, way.logprob, 0, nullptr, {}};
      beam.tokens.push_back({way.token.id, static_cast<float>(way.token.logprob), {}});
      if (processor_ != nullptr) {
        processor_->go_to(parent.place);
        processor_->accept(way.token.id);
        beam.place = processor_->place();
      }
      const bool stopped = !request_.stop.empty() && text_of(beam.tokens).stopped;
      if (stopped || (processor_ != nullptr && processor_->finished())) {
        finish(beam.tokens, way.logprob, beam.tokens.size(),
               stopped ? api::StopReason::kStopString : api::StopReason::kEos);
        continue;
      }
      longer.push_back(std::move(beam));
      parents.push_back(way.beam);
    }
    for (std::size_t i = 0; i < longer.size(); ++i) {
      // The last to go on with a parent takes over its cache; those before share its blocks.
      const bool last =
          std::find(parents.begin() + static_cast<std::ptrdiff_t>(i) + 1, parents.end(), parents[i]) == parents.end();
      longer[i].state = last ? std::move(live_[parents[i]].state) : live_[parents[i]].state->fork();
    }
    live_ = std::move(longer);
  }

  void finish(std::vector<api::GeneratedToken> tokens, double logprob, std::size_t length, api::StopReason reason) {
    finished_.push_back({std::move(tokens), logprob, beam_score(logprob, length, options_.length_penalty), reason});
  }

  bool end_all(api::StopReason reason) {
    if (live_.empty()) live_.emplace_back();  // ended before it began: one empty text
    for (const Beam& beam : live_) finish(beam.tokens, beam.logprob, beam.tokens.size(), reason);
    return false;
  }

  // No live beam can still become one of the results: a log-probability only falls, and what divides it is largest at
  // one end of the lengths to come.
  bool settled() const {
    std::vector<double> scores;
    for (const Finished& one : finished_) scores.push_back(one.score);
    if (scores.size() < options_.results) return false;
    std::sort(scores.begin(), scores.end(), std::greater<>());
    return std::all_of(live_.begin(), live_.end(), [&](const Beam& beam) {
      const double soon = beam_score(beam.logprob, beam.tokens.size() + 1, options_.length_penalty);
      const double late = beam_score(beam.logprob, longest_, options_.length_penalty);
      return std::max(soon, late) <= scores[options_.results - 1];
    });
  }

  struct Text {
    std::string text;
    bool stopped = false;
  };
  Text text_of(const std::vector<api::GeneratedToken>& tokens) const {
    Text result;
    if (writing_ == nullptr) return result;
    text::StreamDecoder decoder(*writing_, text::DecodeOptions{.skip_special = true}, beginning_.back());
    StopMatcher stop(request_.stop);
    for (const api::GeneratedToken& token : tokens) result.text += stop.push(decoder.push(token.id));
    if (!stop.stopped()) result.text += stop.push(decoder.finish()) + stop.flush();
    result.stopped = stop.stopped();
    return result;
  }

  State& state_;
  const api::GenerateRequest& request_;
  BeamOptions options_;
  std::vector<std::shared_ptr<const model::Adapter>> held_;
  std::vector<const model::Adapter*> adapters_;
  std::shared_ptr<const cache::KvPolicy> policy_;
  std::unique_ptr<LogitsProcessor> processor_;  // may be null; its places tell the beams apart
  const text::Tokenizer* writing_ = nullptr;    // of what is generated; may be null
  std::vector<text::TokenId> prompt_;
  std::vector<text::TokenId> beginning_;  // of every beam: the prompt, unless an encoder reads that
  std::shared_ptr<const cache::SourceKv> source_;
  std::size_t read_ = 0;  // of the beginning
  std::size_t longest_;
  bool cancelled_ = false;
  std::vector<Beam> live_;
  std::vector<Finished> finished_;
  std::vector<float> processed_;
  Clock::time_point started_, prompt_read_ = started_;
};

std::vector<BeamResult> Session::beam_search(const api::GenerateRequest& request, const BeamOptions& options,
                                             const std::function<bool(std::uint32_t)>& on_pass) {
  validate(options);
  BeamSearch search(*state_, request, options);
  const auto leave = [&] {
    search.release();
    state_->scheduler.guest_left();
  };
  for (bool begun = false, more = true; more; begun = true) {
    {
      const std::lock_guard lock(state_->mutex);
      const auto publish_stats = [&] {
        const std::lock_guard inbox(state_->inbox_mutex);
        state_->stats = state_->current_stats();
      };
      if (!begun) state_->scheduler.guest_came();
      try {
        more = search.step();
      } catch (...) {
        leave();
        publish_stats();
        throw;
      }
      if (!more) leave();
      publish_stats();
    }
    if (on_pass && more && !on_pass(search.length())) search.cancel();
  }
  return search.results();
}

}  // namespace lathe::engine
