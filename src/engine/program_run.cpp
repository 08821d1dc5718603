#include "engine/program_run.h"

#include <algorithm>

#include "engine/session_state.h"

namespace lathe::engine {
namespace {

using Clock = NodeProgress::Clock;

// No vocabulary has longer tokens on the average of a text; beyond this a prompt is not even tokenized.
constexpr std::uint64_t kMostBytesPerToken = 256;

bool ready(const Program& program, const Node& node) {
  return std::all_of(node.prompt.begin(), node.prompt.end(), [&](const auto& piece) {
    const auto* input = std::get_if<VariableId>(&piece);
    return input == nullptr || program.variables[*input].value.has_value();
  });
}

// The first input that will never have a value; null when there is none.
const Variable* lost_input(const Program& program, const Node& node) {
  for (const auto& piece : node.prompt) {
    const auto* input = std::get_if<VariableId>(&piece);
    if (input != nullptr && program.variables[*input].error) return &program.variables[*input];
  }
  return nullptr;
}

std::string prompt_text(const Program& program, const Node& node, std::uint64_t most_bytes) {
  std::string text;
  for (const auto& piece : node.prompt) {
    const auto* input = std::get_if<VariableId>(&piece);
    const std::string& more = input == nullptr ? std::get<std::string>(piece) : *program.variables[*input].value;
    if (more.size() > most_bytes - text.size())
      throw Error(fmt::format("the prompt has more than the {} bytes that the context could hold", most_bytes),
                  "request", "raise the context (-c) or shorten the prompt");
    text += more;
  }
  return text;
}

// Why a call cannot run whose input is lost: the cause, behind the input's name.
std::exception_ptr because_of(const Variable& input) {
  try {
    std::rethrow_exception(input.error);
  } catch (const Cancelled&) {
    return input.error;
  } catch (const Error& cause) {
    return std::make_exception_ptr(Error(fmt::format("its input '{}' failed: {}", input.name, cause.what())));
  } catch (...) {
    return input.error;
  }
}

}  // namespace

std::vector<text::TokenId> ProgramRun::prompt_ids(const Node& node, const Session::State& session) const {
  if (!node.request.prompt_ids.empty()) return node.request.prompt_ids;
  return session.named_tokenizer().encode(
      prompt_text(program, node, kMostBytesPerToken * std::uint64_t{session.options.context}),
      {node.request.add_special, node.request.parse_special});
}

void ProgramRun::prepare(Session::State& session) {
  const arch::Architecture& a = session.model->architecture();
  if (!a.output_head || !a.causal) {
    throw Error("turns texts into vectors and predicts no tokens", fmt::format("{} model", a.family),
                "use lathe embed, or /v1/embeddings of lathe serve");
  }
  number_ = session.programs++;
  validate(program, options_.open ? Inputs::kMayFollow : Inputs::kKnown);
  prepare_nodes(session);
  unfinished_ = program.nodes.size();
  closed_ = !options_.open;
}

// Those that are new.
void ProgramRun::prepare_nodes(Session::State& session) {
  while (prepared_.size() < program.nodes.size()) {
    Node& node = program.nodes[prepared_.size()];
    Prepared prepared;
    if (ready(program, node)) prepared.prompt = prompt_ids(node, session);
    for (const api::AdapterUse& use : node.request.adapters) prepared.adapters.push_back(session.adapter(use));
    prepared.policy = session.policy_for(node.request.kv_policy);
    prepared.processor = session.constraints.processor_for(node.request);
    prepared.standing = std::make_shared<Standing>(number_, node.depth, node.goal);
    node.progress.added = Clock::now();
    prepared_.push_back(std::move(prepared));
  }
}

void ProgramRun::extend(Session::State& session, const std::function<void(Program&)>& change,
                        const std::function<void(std::uint64_t)>& enqueue) {
  const std::lock_guard lock(mutex_);
  if (closed_) throw Error("the program is closed", "program");
  const std::size_t variables = program.variables.size(), nodes = program.nodes.size();
  try {
    change(program);
    validate(program, Inputs::kMayFollow);
    prepare_nodes(session);
    enqueue(program.nodes.size() - nodes);
    unfinished_ += program.nodes.size() - nodes;
  } catch (...) {
    prepared_.resize(std::min(prepared_.size(), nodes));
    program.nodes.resize(nodes);
    program.variables.resize(variables);
    for (Variable& variable : program.variables) {
      if (variable.producer && *variable.producer >= nodes) variable.producer.reset();
    }
    throw;
  }
}

void ProgramRun::set_value(VariableId id, std::string value) {
  const std::lock_guard lock(mutex_);
  if (closed_) throw Error("the program is closed", "program");
  Variable& variable = program.variables.at(id);
  if (variable.producer) throw Error("is produced by a call and cannot be set", variable.name);
  if (variable.value) throw Error("has a value already", variable.name);
  variable.value = std::move(value);
}

void ProgramRun::want(VariableId variable, Goal goal) {
  const std::lock_guard lock(mutex_);
  deduce_goals(program, variable, goal);
  for (std::size_t id = 0; id < program.nodes.size(); ++id) prepared_[id].standing->goal = program.nodes[id].goal;
}

void ProgramRun::close() {
  cancel();
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool ProgramRun::begin() { return !std::exchange(begun_, true); }

// Submits what has become ready, ends what never will be, and the program when that was all.
void ProgramRun::advance(Session::State& session) {
  if (finished()) return;
  std::vector<NodeId> due;
  std::vector<std::pair<NodeId, std::exception_ptr>> lost;
  {
    const std::lock_guard lock(mutex_);
    for (NodeId id = 0; id < program.nodes.size(); ++id) {
      Node& node = program.nodes[id];
      if (node.progress.state != NodeState::kWaiting) continue;
      if (const Variable* input = lost_input(program, node)) {
        lost.emplace_back(id, because_of(*input));
      } else if (cancel_->cancelled()) {
        lost.emplace_back(id, std::make_exception_ptr(Cancelled()));
      } else if (ready(program, node)) {
        due.push_back(id);
      } else {
        continue;
      }
      node.progress.state = NodeState::kQueued;
      node.progress.queued = Clock::now();
    }
  }
  // What ends below advances the program again and may finish it, so nothing of it is looked at afterwards.
  for (const auto& [id, reason] : lost) node_failed(session, id, reason);
  for (const NodeId id : due) submit(session, id);
  bool over = false;
  {
    const std::lock_guard lock(mutex_);
    over = closed_ && unfinished_ == 0;
  }
  if (!over || finished()) return;
  if (events_.on_finished) events_.on_finished(error_);
  events_ = {};  // what they hold may hold this program
  finished_.store(true, std::memory_order_release);
}

void ProgramRun::submit(Session::State& session, NodeId id) try {
  session.scheduler.submit(job_for(session, id));
} catch (...) {
  node_failed(session, id, std::current_exception());
}

Job ProgramRun::job_for(Session::State& session, NodeId id) {
  const std::lock_guard lock(mutex_);
  Node& node = program.nodes[id];
  Prepared& prepared = prepared_[id];
  Job job;
  job.request = node.request;
  job.standing = prepared.standing;
  job.priority = options_.priority;
  job.client = options_.client;
  job.prompt = prepared.prompt.empty() ? prompt_ids(node, session) : std::move(prepared.prompt);
  node.progress.prompt_tokens = static_cast<std::uint32_t>(job.prompt.size());
  job.adapters = std::move(prepared.adapters);
  job.policy = std::move(prepared.policy);
  job.processor = std::move(prepared.processor);
  job.cancel = cancel_;
  job.on_begin = [this, id](std::uint32_t cached) {
    const std::lock_guard begin(mutex_);
    NodeProgress& progress = program.nodes[id].progress;
    progress.state = NodeState::kRunning;
    progress.begun = Clock::now();
    progress.cached_tokens = progress.read_tokens = cached;
  };
  job.on_progress = [this, id](std::uint32_t read, std::uint32_t generated) {
    const std::unique_lock pass(mutex_, std::try_to_lock);  // nobody's step waits for who looks or adds: the next tells
    if (!pass) return;
    program.nodes[id].progress.read_tokens = read;
    program.nodes[id].progress.generated_tokens = generated;
  };
  job.on_text = [this, id](const Piece& piece) { return !events_.on_text || events_.on_text(id, piece); };
  job.on_done = [this, id, &session](api::GenerateResult result) { node_done(session, id, std::move(result)); };
  job.on_error = [this, id, &session](const std::exception_ptr& reason) { node_failed(session, id, reason); };
  return job;
}

void ProgramRun::node_done(Session::State& session, NodeId id, api::GenerateResult result) {
  try {
    const std::lock_guard lock(mutex_);
    Node& node = program.nodes[id];
    Variable& output = program.variables[node.output];
    node.progress.generated_tokens = static_cast<std::uint32_t>(result.tokens.size());
    const bool whole = result.stop_reason != api::StopReason::kCancelled;
    if (whole) node.progress.read_tokens = node.progress.prompt_tokens;
    if (whole) output.value = node.transform.apply(result.text);
    if (!whole) output.error = std::make_exception_ptr(Cancelled());
    if (options_.open) {  // it may live long, and be asked for text only
      result.prompt_ids = {};
      result.tokens = {};
    }
    node.result = std::move(result);
    node.progress.state = NodeState::kDone;
    node.progress.ended = Clock::now();
    --unfinished_;
  } catch (...) {
    return node_failed(session, id, std::current_exception());
  }
  --session.outstanding;
  if (events_.on_node_done) events_.on_node_done(id);
  advance(session);
}

void ProgramRun::node_failed(Session::State& session, NodeId id, const std::exception_ptr& reason) {
  {
    const std::lock_guard lock(mutex_);
    Node& node = program.nodes[id];
    program.variables[node.output].error = reason;
    node.progress.error = reason;
    node.progress.state = NodeState::kFailed;
    node.progress.ended = Clock::now();
    --unfinished_;
  }
  if (!error_) error_ = reason;
  --session.outstanding;
  if (events_.on_node_done) events_.on_node_done(id);
  advance(session);
}

}  // namespace lathe::engine
