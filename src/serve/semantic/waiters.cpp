#include "serve/semantic/waiters.h"

#include <algorithm>
#include <utility>

#include "serve/generation.h"
#include "serve/semantic/sessions.h"
#include "serve/service.h"

namespace lathe::serve {
namespace {

ApiError failure_of(const SemanticSession& session, engine::VariableId variable, const std::exception_ptr& reason) {
  const ApiError cause = as_api_error(reason);
  const std::string name = session.name_of(variable);
  return {cause.status(), fmt::format("variable '{}' failed: {}", name, cause.what()), name,
          cause.code().empty() ? "variable_failed" : cause.code()};
}

}  // namespace

void Waiter::begin() {
  if (stream_ && !exchange_->begun()) begin_events(*exchange_);
}

void Waiter::send(const Json& event) {
  begin();
  send_event(*exchange_, event);
}

void Waiter::answer_whole(const Json& body) {
  if (!stream_) return exchange_->respond({.body = body.dump(-1, ' ', false, Json::error_handler_t::replace)});
  send(body);
  send_done(*exchange_);
  exchange_->finish();
}

void Waiter::refuse(const ApiError& error) {
  if (exchange_->gone()) return;
  if (!exchange_->begun()) return exchange_->respond(error_response(error));
  send_event(*exchange_, error_json(error));
  exchange_->finish();
}

void VariableWaiter::piece(const SemanticSession&, engine::VariableId output, const std::string& text) {
  if (streams() && output == variable_) send({{"delta", text}});
}

bool VariableWaiter::settle(const SemanticSession& session) {
  const SemanticSession::Outcome outcome = session.outcome(variable_);
  if (outcome.failure) {
    refuse(failure_of(session, variable_, outcome.failure));
    return true;
  }
  if (outcome.value.is_null()) return false;
  answer_whole(outcome.value);
  return true;
}

void ProgramWaiter::piece(const SemanticSession& session, engine::VariableId output, const std::string& text) {
  if (streams() && std::find(pending_.begin(), pending_.end(), output) != pending_.end())
    send({{"variable", session.name_of(output)}, {"delta", text}});
}

bool ProgramWaiter::settle(const SemanticSession& session) {
  std::erase_if(pending_, [&](engine::VariableId variable) {
    SemanticSession::Outcome outcome = session.outcome(variable);
    const std::string name = session.name_of(variable);
    if (outcome.failure) {
      failures_.push_back(failure_of(session, variable, outcome.failure));
      outcome.value = {
          {"id", session.variable_id(variable)}, {"object", "semantic_variable"}, {"name", name}, {"status", "failed"}};
      outcome.value.update(error_json(failures_.back()));
    }
    if (outcome.value.is_null()) return false;
    if (streams()) send({{"variable", name}, {"output", outcome.value}});
    outputs_[name] = std::move(outcome.value);
    return true;
  });
  if (!pending_.empty()) return false;
  finish(session);
  over_();
  return true;
}

void ProgramWaiter::finish(const SemanticSession& session) {
  const Json state = session.state();
  std::uint64_t prompt = 0, cached = 0, generated = 0;
  for (const Json& node : state["nodes"]) {
    prompt += node["prompt_tokens"].get<std::uint64_t>();
    cached += node["cached_tokens"].get<std::uint64_t>();
    generated += node["generated_tokens"].get<std::uint64_t>();
  }
  exchange()->prompt_tokens = prompt;
  exchange()->generated_tokens = generated;
  if (failures_.size() == outputs_.size()) return refuse(failures_.front());
  answer_whole({{"id", session.id()},
                {"object", "program"},
                {"model", state["model"]},
                {"created", state["created"]},
                {"seconds", state["seconds"]},
                {"outputs", std::move(outputs_)},
                {"nodes", state["nodes"]},
                {"variables", state["variables"]},
                {"usage",
                 {{"prompt_tokens", prompt},
                  {"completion_tokens", generated},
                  {"total_tokens", prompt + generated},
                  {"prompt_tokens_details", {{"cached_tokens", cached}}}}}});
}

}  // namespace lathe::serve
