#include "engine/session.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <optional>

#include "base/error.h"
#include "cache/context_memory.h"
#include "engine/kv_budget.h"
#include "engine/program_run.h"
#include "engine/session_state.h"

namespace lathe::engine {
namespace {

void check(const SessionOptions& options) {
  if (options.max_batch == 0) throw UsageError("max_batch is 0, expected at least 1", "session");
  if (options.chunk == 0) throw UsageError("chunk is 0, expected at least 1", "session");
}

void check_memory(const SessionOptions& options, const cache::MemoryOptions& memory, const model::Model& model) {
  model::require_far_distances(model.op_list());
  cache::require_whole_blocks(memory, kv_layout(model, options.kv_codec).block_tokens);
  if (options.draft.kind != DraftKind::kNone)
    throw UsageError("a context memory cannot take guesses back", "session", "leave out the draft, or the KV policy");
  const std::uint32_t trained = model.architecture().context_length;
  if (memory.window > trained) {
    throw UsageError(
        fmt::format("a window of {} is longer than the {} positions the model was trained on", memory.window, trained),
        "session", "use a smaller window (--kv-policy infllm:SINKS+WINDOW)");
  }
}

std::uint32_t session_context(const arch::Architecture& a, std::uint32_t asked) {
  const std::uint32_t context = context_within(a, asked);
  if (context < asked) {
    throw UsageError(
        fmt::format("a context of {} is more than the {} positions the model has learned", asked, a.context_length),
        "session");
  }
  return context;
}

// The options with nothing left to decide: the context, and passes with room for every sequence and its draft.
SessionOptions settled(SessionOptions options, const model::Model& model) {
  check(options);
  options.context = session_context(model.architecture(), options.context);
  if (options.draft.kind == DraftKind::kNone) options.draft.tokens = 0;
  options.chunk = std::max(options.chunk, options.max_batch * (1 + options.draft.tokens));
  if (const auto policy = cache::kv_policy_named(options.kv_policy); policy->memory() != nullptr) {
    check_memory(options, *policy->memory(), model);
    options.chunk = std::max<std::uint32_t>(options.chunk, options.max_batch + policy->memory()->step);
  }
  // What a decoder computes depends on the source text.
  if (model.encoder() != nullptr) options.prefix_cache = false;
  // An encoder reads a text in one pass, and what it cached of a beginning depends on the end.
  if (!model.architecture().causal) {
    options.chunk = std::max(options.chunk, options.context);
    options.prefix_cache = false;
  }
  return options;
}

}  // namespace

Session::State::State(std::shared_ptr<model::Model> m, std::shared_ptr<const text::Tokenizer> t,
                      const SessionOptions& asked, std::uint64_t kv_bytes)
    : model(std::move(m)),
      tokenizer(std::move(t)),
      options(settled(asked, *model)),
      policy(cache::kv_policy_named(options.kv_policy)),
      most_outstanding(options.max_waiting == 0 ? std::numeric_limits<std::uint64_t>::max()
                                                : std::uint64_t{options.max_batch} + options.max_waiting),
      forward(model, options.chunk, options.context),
      pool(model->shared_backend(), kv_layout(*model, options.kv_codec), model->state_layers(),
           kv_budget(*model, options, options.context, kv_bytes), options.kv_folder),
      encoder(make_source_encoder(*model, options.context, pool)),
      drafter(make_drafter(options, model, tokenizer)),
      scheduler(forward, pool, writing_tokenizer().get(),
                {options.context, options.max_batch, options.chunk, options.latency_batch, options.prefix_cache,
                 drafter.get(), options.draft.tokens, encoder.get()}) {
  const auto check_size = [](const text::Tokenizer& words, const arch::Architecture& a) {
    if (words.size() <= a.vocab_size) return;
    throw Error(fmt::format("the tokenizer has {} tokens, the model's embedding {}", words.size(), a.vocab_size),
                "session", "use the tokenizer that belongs to the model");
  };
  if (tokenizer != nullptr) {
    check_size(*tokenizer, (model->encoder() != nullptr ? *model->encoder() : *model).architecture());
    check_size(*writing_tokenizer(), model->architecture());
  }
  stats = current_stats();
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;

const model::Model& Session::model() const { return *state_->model; }

std::shared_ptr<const cache::KvPolicy> Session::State::policy_for(std::string_view text) const {
  if (text.empty()) return policy;
  std::shared_ptr<const cache::KvPolicy> asked = cache::kv_policy_named(text);
  if (asked->memory() == nullptr) return asked;
  check_memory(options, *asked->memory(), *model);
  const std::uint64_t step = asked->memory()->step, most = options.chunk - options.max_batch;  // beside all that decode
  if (step > most) {
    throw UsageError(fmt::format("steps of {} do not fit: passes of {} rows leave {} beside {} that decode", step,
                                 options.chunk, most, options.max_batch),
                     "session", "ask for a smaller step, or give passes more rows (lathe serve --chunk)");
  }
  return asked;
}

bool Session::shares_prefixes(std::string_view kv_policy) const {
  return state_->policy_for(kv_policy)->shares_prefixes();
}

const text::Tokenizer& Session::tokenizer() const { return state_->named_tokenizer(); }

const text::Tokenizer& Session::State::named_tokenizer() const {
  if (tokenizer == nullptr)
    throw Error("the model has no tokenizer", model->architecture().family,
                "give one with --tokenizer, or pass token ids");
  return *tokenizer;
}

std::shared_ptr<const text::Tokenizer> Session::State::writing_tokenizer() const {
  return tokenizer == nullptr ? nullptr : std::shared_ptr<const text::Tokenizer>(tokenizer, &tokenizer->target());
}

std::uint32_t Session::context() const { return state_->options.context; }

SessionStats Session::stats() const {
  const std::lock_guard lock(state_->inbox_mutex);
  return state_->stats;
}

std::uint64_t Session::outstanding() const { return state_->outstanding; }

SessionStats Session::State::current_stats() const {
  const SchedulerStats& s = scheduler.stats();
  return {pool.used_blocks() * pool.block_bytes(),
          pool.total_blocks() * pool.block_bytes(),
          pool.used_blocks(),
          scheduler.prefix_tree().size(),
          pool.total_blocks(),
          scheduler.running(),
          scheduler.waiting(),
          s.prompt_tokens,
          s.prefix_hit_tokens,
          s.prefill_tokens,
          s.decode_tokens,
          s.forward_passes,
          s.preemptions,
          restored_tokens,
          s.unshared_prompt_tokens};
}

void Session::set_cancel_token(const CancelToken* token) {
  const std::lock_guard lock(state_->mutex);
  state_->cancel = token;
}

api::GenerateResult Session::generate(const api::GenerateRequest& request, const api::TextCallback& on_text) {
  return std::move(generate_all({&request, 1}, [&](std::size_t, std::string_view piece) {
                     return !on_text || on_text(piece);
                   }).front());
}

std::vector<api::GenerateResult> Session::generate_all(
    std::span<const api::GenerateRequest> requests, const std::function<bool(std::size_t, std::string_view)>& on_text) {
  Program program;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Node node;
    node.prompt.emplace_back(requests[i].prompt);
    node.output = program.add_variable(fmt::format("answer {}", i));
    node.request = requests[i];
    program.add_node(std::move(node));
  }
  run(program, [&](NodeId node, std::string_view piece) { return !on_text || on_text(node, piece); });
  std::vector<api::GenerateResult> results;
  for (Node& node : program.nodes) results.push_back(std::move(*node.result));
  return results;
}

void Session::run(Program& program, const NodeCallback& on_text) {
  ProgramEvents events;
  if (on_text) events.on_text = [&](NodeId node, const Piece& piece) { return on_text(node, piece.text); };
  const auto run = std::make_shared<ProgramRun>(std::move(program), std::move(events), StartOptions{});
  try {
    run->prepare(*state_);
    enqueue(run, run->program.nodes.size());
    while (!run->finished()) step();
  } catch (...) {
    program = std::move(run->program);
    throw;
  }
  program = std::move(run->program);
  if (run->error()) std::rethrow_exception(run->error());
}

std::shared_ptr<ProgramRun> Session::start(Program program, ProgramEvents events, StartOptions options) {
  auto run = std::make_shared<ProgramRun>(std::move(program), std::move(events), std::move(options));
  run->prepare(*state_);
  enqueue(run, run->program.nodes.size());
  return run;
}

void Session::extend(const std::shared_ptr<ProgramRun>& run, const std::function<void(Program&)>& change) {
  run->extend(*state_, change, [&](std::uint64_t calls) { enqueue(run, calls); });
}

void Session::set_value(const std::shared_ptr<ProgramRun>& run, VariableId variable, std::string value) {
  run->set_value(variable, std::move(value));
  enqueue(run, 0);
}

void Session::want(const std::shared_ptr<ProgramRun>& run, VariableId variable, Goal goal) {
  run->want(variable, goal);
}

void Session::close(const std::shared_ptr<ProgramRun>& run) {
  run->close();
  enqueue(run, 0);
}

// Tells whoever steps that the program has news, `calls` more nodes among them.
void Session::enqueue(const std::shared_ptr<ProgramRun>& run, std::uint64_t calls) {
  {
    const std::lock_guard lock(state_->inbox_mutex);
    const std::uint64_t most = state_->most_outstanding;
    if (calls > most)
      throw Error(fmt::format("{} calls at once are more than the {} that may wait and run", calls, most), "program");
    if (calls > most - std::min(most, state_->outstanding.load())) {
      throw Overloaded(
          fmt::format("{} calls are waiting or running already, at most {} may", state_->outstanding.load(), most),
          "request", "try again later");
    }
    state_->outstanding += calls;
    state_->inbox.push_back(run);
  }
  state_->work_arrived.notify_all();
}

bool Session::step() { return state_->step(); }

bool Session::State::step() {
  const std::lock_guard stepping(mutex);
  std::vector<std::shared_ptr<ProgramRun>> arrived;
  {
    const std::lock_guard lock(inbox_mutex);
    arrived.swap(inbox);
  }
  if (arrived.empty() && scheduler.idle()) return false;
  for (const auto& run : arrived) {
    if (run->begin()) runs.push_back(run);
  }
  for (const auto& run : arrived) run->advance(*this);
  scheduler.step(cancel);
  std::erase_if(runs, [](const auto& run) { return run->finished(); });
  const std::lock_guard lock(inbox_mutex);
  stats = current_stats();
  return true;
}

void Session::wait_for_work(const std::atomic<bool>& stop) {
  std::unique_lock lock(state_->inbox_mutex);
  state_->work_arrived.wait(lock, [&] { return !state_->inbox.empty() || stop; });
}

void Session::wake() {
  { const std::lock_guard lock(state_->inbox_mutex); }  // a waiter has looked at its flag, or waits
  state_->work_arrived.notify_all();
}

void Session::cancel_all() {
  std::vector<std::shared_ptr<ProgramRun>> left;
  {
    const std::lock_guard stepping(state_->mutex);
    const std::lock_guard lock(state_->inbox_mutex);
    left = state_->runs;
    left.insert(left.end(), state_->inbox.begin(), state_->inbox.end());
  }
  for (const auto& run : left) close(run);
  while (step()) {
  }
}

std::vector<api::TokenScore> Session::score(const std::string& context, const std::string& continuation) {
  std::vector<text::TokenId> ids = tokenizer().encode(context);
  std::vector<api::TokenScore> scores;
  if (state_->encoder != nullptr) {  // the context is the source
    const std::vector<text::TokenId> target = tokenizer().target().encode(continuation);
    target_logits(ids, target, 0, [&](std::size_t position, std::span<const float> row) {
      if (position < target.size())
        scores.push_back({target[position], token_logprobs(row, target[position], 0).logprob});
    });
    return scores;
  }
  const std::vector<text::TokenId> scored = tokenizer().encode(continuation, {.add_special = false});
  if (ids.empty())
    throw Error("nothing comes before the continuation, not even a BOS token", "score", "give a context");
  const std::size_t first = ids.size();
  ids.insert(ids.end(), scored.begin(), scored.end());
  logits(ids, first - 1, [&](std::size_t position, std::span<const float> row) {
    if (position + 1 < ids.size())
      scores.push_back({ids[position + 1], token_logprobs(row, ids[position + 1], 0).logprob});
  });
  return scores;
}

void Session::logits(std::span<const text::TokenId> ids, std::size_t from,
                     const std::function<void(std::size_t, std::span<const float>)>& sink) {
  state_->each_row(ids, from, sink);
}

void Session::target_logits(std::span<const text::TokenId> source, std::span<const text::TokenId> ids, std::size_t from,
                            const std::function<void(std::size_t, std::span<const float>)>& sink) {
  if (state_->encoder == nullptr)
    throw Error("has no encoder that could read a source text", state_->model->architecture().family);
  std::vector<text::TokenId> all = state_->encoder->beginning();
  all.insert(all.end(), ids.begin(), ids.end());
  const SourceText text{source};
  state_->each_row(all, from, sink, &text);
}

void Session::State::each_row(std::span<const text::TokenId> ids, std::size_t from,
                              const std::function<void(std::size_t, std::span<const float>)>& sink,
                              const SourceText* source) {
  if (ids.empty()) throw Error("no token ids", "logits");
  if (source == nullptr && encoder != nullptr)
    throw Error("predicts a text given another one: a source text is needed", model->architecture().family,
                "give one with --source");
  std::shared_ptr<const cache::SourceKv> encoded;
  std::optional<cache::PagedKv> sequence;
  // One pass at a time under the mutex, so that what is being generated meanwhile waits for no more than that; the
  // blocks are given back under it, too.
  const auto locked = [&](const auto& body) {
    const std::lock_guard lock(mutex);
    try {
      body();
    } catch (...) {
      sequence.reset();
      encoded.reset();
      throw;
    }
  };
  const auto make_room = [&](std::uint64_t blocks) {
    if (pool.free_blocks() < blocks) scheduler.prefix_tree().evict(blocks);
  };
  if (source != nullptr) {
    locked([&] {
      make_room(encoder->blocks_needed(source->ids.size()));
      encoded = encoder->encode(*source);
    });
  }
  for (std::size_t begin = 0; begin < ids.size();) {
    // Rows before `from` go in passes of their own, so that no pass computes logits nobody asked for.
    const std::size_t limit = begin < from ? std::min(from, ids.size()) : ids.size();
    const std::size_t count = policy->rows_of_pass(begin, limit - begin, forward.max_rows());
    locked([&] {
      if (cancel != nullptr) cancel->check();
      if (!sequence) sequence.emplace(pool, policy);
      make_room(sequence->blocks_needed(count));
      const model::Segment segment{ids.subspan(begin, count)};
      const model::SequenceInput input{
          &*sequence, {&segment, 1}, begin >= from ? model::Want::kAll : model::Want::kNothing, {}, encoded.get()};
      forward.forward({&input, 1}, {}, [&](std::size_t, std::uint64_t row, std::span<const float> values) {
        sink(begin + row, values);
      });
      if (begin + count == ids.size()) sequence.reset(), encoded.reset();
    });
    begin += count;
  }
}

}  // namespace lathe::engine
