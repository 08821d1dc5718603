// Runs a program to completion: a node enters the scheduler's queue as soon as its inputs have values, and what it
// generates becomes its output's value.
#include <algorithm>
#include <exception>

#include "engine/session.h"
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

void Session::run(Program& program, const NodeCallback& on_text) {
  validate(program);
  std::vector<bool> submitted(program.nodes.size(), false);
  std::size_t in_flight = 0;
  std::exception_ptr error;  // the first; afterwards no node starts, and running ones stop at their next piece of text

  const auto submit = [&](NodeId id) {
    Node& node = program.nodes[id];
    submitted[id] = true;
    Job job;
    job.request = node.request;
    job.goal = node.goal;
    job.prompt = node.request.prompt_ids;
    if (job.prompt.empty()) {
      job.prompt =
          tokenizer().encode(prompt_text(program, node), {node.request.add_special, node.request.parse_special});
    }
    for (const std::string& name : node.request.adapters) job.adapters.push_back(state_->adapter(name));
    job.processor = state_->constraints.processor_for(node.request);
    job.on_text = [&, id](std::string_view piece) { return !error && (!on_text || on_text(id, piece)); };
    job.on_done = [&, id](api::GenerateResult result) {
      --in_flight;
      program.variables[program.nodes[id].output].value = result.text;
      program.nodes[id].result = std::move(result);
    };
    job.on_error = [&](std::exception_ptr reason) {
      --in_flight;
      if (!error) error = reason;
    };
    state_->scheduler.submit(std::move(job));
    ++in_flight;
  };

  for (;;) {
    const std::lock_guard lock(state_->mutex);
    try {
      for (NodeId id = 0; id < program.nodes.size() && !error; ++id) {
        if (!submitted[id] && ready(program, program.nodes[id])) submit(id);
      }
    } catch (...) {
      error = std::current_exception();
    }
    if (in_flight == 0) break;  // validate() saw that every node becomes ready
    state_->scheduler.step(state_->cancel);
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace lathe::engine
