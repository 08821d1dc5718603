#include "engine/program_run.h"

#include <algorithm>

#include "engine/session_state.h"

namespace lathe::engine {
namespace {

bool ready(const Program& program, const Node& node) {
  return std::all_of(node.prompt.begin(), node.prompt.end(), [&](const auto& piece) {
    const auto* input = std::get_if<VariableId>(&piece);
    return input == nullptr || program.variables[*input].value.has_value();
  });
}

std::string prompt_text(const Program& program, const Node& node) {
  std::string text;
  for (const auto& piece : node.prompt) {
    const auto* input = std::get_if<VariableId>(&piece);
    text += input == nullptr ? std::get<std::string>(piece) : *program.variables[*input].value;
  }
  return text;
}

}  // namespace

std::vector<text::TokenId> ProgramRun::prompt_ids(const Node& node, const Session::State& session) const {
  if (!node.request.prompt_ids.empty()) return node.request.prompt_ids;
  return session.named_tokenizer().encode(prompt_text(program, node),
                                          {node.request.add_special, node.request.parse_special});
}

void ProgramRun::prepare(Session::State& session) {
  validate(program);
  submitted_.assign(program.nodes.size(), false);
  for (const Node& node : program.nodes) {
    Prepared& prepared = prepared_.emplace_back();
    if (ready(program, node)) prepared.prompt = prompt_ids(node, session);
    for (const std::string& name : node.request.adapters) prepared.adapters.push_back(session.adapter(name));
    prepared.processor = session.constraints.processor_for(node.request);
  }
}

void ProgramRun::begin(Session::State& session) {
  submit_ready(session);
  end_if_over(session);
}

void ProgramRun::submit_ready(Session::State& session) {
  for (NodeId id = 0; id < program.nodes.size() && !error_ && !cancel_->cancelled(); ++id) {
    if (submitted_[id] || !ready(program, program.nodes[id])) continue;
    try {
      submit(session, id);
    } catch (...) {
      error_ = std::current_exception();
      cancel_->cancel();
    }
  }
}

void ProgramRun::submit(Session::State& session, NodeId id) {
  const Node& node = program.nodes[id];
  Prepared& prepared = prepared_[id];
  submitted_[id] = true;
  Job job;
  job.request = node.request;
  job.goal = node.goal;
  job.priority = options_.priority;
  job.client = options_.client;
  job.prompt = prepared.prompt.empty() ? prompt_ids(node, session) : std::move(prepared.prompt);
  job.adapters = std::move(prepared.adapters);
  job.processor = std::move(prepared.processor);
  job.cancel = cancel_;
  job.on_text = [this, id](const Piece& piece) { return !error_ && (!events_.on_text || events_.on_text(id, piece)); };
  job.on_done = [this, id, &session](api::GenerateResult result) {
    --in_flight_;
    program.variables[program.nodes[id].output].value = result.text;
    program.nodes[id].result = std::move(result);
    if (events_.on_node_done) events_.on_node_done(id);
    submit_ready(session);
    end_if_over(session);
  };
  job.on_error = [this, &session](std::exception_ptr reason) {
    --in_flight_;
    if (!error_) error_ = std::move(reason);
    cancel_->cancel();
    end_if_over(session);
  };
  session.scheduler.submit(std::move(job));
  ++in_flight_;
}

void ProgramRun::end_if_over(Session::State& session) {
  if (in_flight_ > 0 || finished()) return;  // validate() saw that every node becomes ready
  if (!error_ && std::any_of(program.nodes.begin(), program.nodes.end(), [](const Node& n) { return !n.result; }))
    error_ = std::make_exception_ptr(Cancelled());
  session.outstanding -= program.nodes.size();
  if (events_.on_finished) events_.on_finished(error_);
  finished_.store(true, std::memory_order_release);
}

}  // namespace lathe::engine
