#include "serve/semantic/sessions.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "base/json.h"
#include "serve/generation.h"
#include "serve/metrics.h"
#include "serve/openai/error.h"
#include "serve/program_json.h"

namespace lathe::serve {
namespace {

constexpr std::string_view kSession = "sess_", kVariable = "var_";

// The letters that an id of a session and those of its variables have in common; empty for another text.
std::string_view letters_of(std::string_view id) {
  if (id.starts_with(kSession)) return id.substr(kSession.size());
  if (!id.starts_with(kVariable)) return {};
  id.remove_prefix(kVariable.size());
  return id.substr(0, id.find('_'));
}

}  // namespace

SemanticSession::SemanticSession(std::string id, std::string owner, Lease lease, engine::StartOptions options,
                                 Loop& loop, Metrics& metrics)
    : id_(std::move(id)),
      owner_(std::move(owner)),
      lease_(std::move(lease)),
      options_(std::move(options)),
      loop_(loop),
      metrics_(metrics),
      created_(static_cast<std::int64_t>(std::time(nullptr))) {}

// Not before there are calls: the engine is chosen by what they begin with.
void SemanticSession::start(const Json& request) {
  LoadedModel& model = *lease_.model;
  std::vector<text::TokenId> beginning;
  if (model.engines.size() > 1) beginning = model.any().tokenizer().encode(beginning_of(request));
  session_ = &model.route(lease_.adapters, lease_.kv_policy, beginning);
  engine::StartOptions options = options_;
  options.open = true;
  engine::ProgramEvents events;
  const auto weak = weak_from_this();
  Loop* const on = &loop_;
  events.on_text = [weak, on](engine::NodeId node, const engine::Piece& piece) {
    on->post([weak, node, text = std::string(piece.text)] {
      if (const auto alive = weak.lock()) alive->piece(node, text);
    });
    return true;
  };
  events.on_node_done = [weak, on](engine::NodeId) {
    on->post([weak] {
      if (const auto alive = weak.lock()) alive->settle();
    });
  };
  run_ = session_->start({}, std::move(events), std::move(options));
}

SemanticSession::~SemanticSession() { end_run(); }

void SemanticSession::end_run() {
  if (const auto run = run_.load()) session_->close(run);
}

std::string SemanticSession::variable_id(engine::VariableId variable) const {
  return fmt::format("{}{}_{}", kVariable, letters_of(id_), variable);
}

std::optional<engine::VariableId> SemanticSession::find(const std::string& var_id, std::size_t count) const {
  const std::string mine = fmt::format("{}{}_", kVariable, letters_of(id_));
  if (!var_id.starts_with(mine)) return std::nullopt;
  engine::VariableId id = 0;
  const char* end = var_id.data() + var_id.size();
  const auto [stop, status] = std::from_chars(var_id.data() + mine.size(), end, id);
  if (status != std::errc{} || stop != end || id >= count) return std::nullopt;
  return id;
}

engine::VariableId SemanticSession::find(const std::string& var_id) const {
  const std::size_t count = look([](const engine::Program& program) { return program.variables.size(); });
  if (const auto id = find(var_id, count)) return *id;
  throw ApiError(404, fmt::format("there is no variable '{}'", var_id.substr(0, 100)), "var_id", "unknown_variable");
}

std::string SemanticSession::name_of(engine::VariableId variable) const {
  return look([&](const engine::Program& program) { return program.variables[variable].name; });
}

AddedCalls SemanticSession::add(const Json& request, Add add) try {
  const std::lock_guard lock(names_mutex_);
  VariableNames names = names_;
  AddedCalls added;
  if (run_.load() == nullptr) start(request);
  session_->extend(run_.load(), [&](engine::Program& program) {
    const std::size_t known = program.variables.size();
    added = add(request, lease_, program, names, [&](const std::string& var_id) { return find(var_id, known); });
  });
  for (const auto& [variable, goal] : added.wanted) want(variable, goal);
  names_ = std::move(names);
  return added;
} catch (const ApiError&) {
  throw;
} catch (const engine::Overloaded&) {
  throw;
} catch (const Error& refused) {  // a cycle, a grammar that cannot be read
  throw ApiError(400, refused.what(), {}, "invalid_program");
}

void SemanticSession::set(engine::VariableId variable, std::string value) {
  try {
    session_->set_value(run_.load(), variable, std::move(value));
  } catch (const Error& refused) {
    throw ApiError(409, refused.what(), name_of(variable), "variable_set");
  }
  loop_.post([weak = weak_from_this()] {
    if (const auto alive = weak.lock()) alive->settle();
  });
}

void SemanticSession::want(engine::VariableId variable, engine::Goal goal) {
  session_->want(run_.load(), variable, goal);
}

std::string SemanticSession::unset_behind(engine::VariableId variable) const {
  return look([&](const engine::Program& program) {
    std::vector<engine::VariableId> behind = {variable};
    std::vector<bool> seen(program.variables.size(), false);
    for (std::size_t i = 0; i < behind.size(); ++i) {
      const engine::Variable& one = program.variables[behind[i]];
      if (one.value || one.error || seen[behind[i]]) continue;
      seen[behind[i]] = true;
      if (!one.producer) return one.name;
      for (const auto& piece : program.nodes[*one.producer].prompt) {
        if (const auto* input = std::get_if<engine::VariableId>(&piece)) behind.push_back(*input);
      }
    }
    return std::string();
  });
}

bool SemanticSession::at_work() const {
  return look([](const engine::Program& program) { return serve::at_work(program); });
}

void SemanticSession::record(RequestLog& log, std::string endpoint) const {
  PlainRequest request{.id = id_,
                       .owner = owner_,
                       .endpoint = std::move(endpoint),
                       .model = lease_.name,
                       .created = created_,
                       .began = began_};
  look([&](const engine::Program& program) { log.ended(std::move(request), program); });
}

Json SemanticSession::state() const {
  return look([&](const engine::Program& program) {
    Json variables = Json::array();
    std::vector<bool> is_final(program.variables.size(), false);
    for (const engine::VariableId id : engine::final_outputs(program)) is_final[id] = true;
    for (engine::VariableId id = 0; id < program.variables.size(); ++id) {
      const engine::Variable& variable = program.variables[id];
      variables.push_back({{"id", variable_id(id)},
                           {"name", variable.name},
                           {"status", variable.error   ? "failed"
                                      : variable.value ? "ready"
                                                       : "pending"},
                           {"producer", variable.producer ? Json(*variable.producer) : Json(nullptr)},
                           {"final", is_final[id] == true}});
    }
    Json json = {{"session_id", id_}, {"object", "semantic_session"}, {"model", lease_.name}, {"created", created_}};
    json.update(program_json(program, began_));
    json["variables"] = std::move(variables);
    return json;
  });
}

Json SemanticSession::variable_json(engine::VariableId id, const engine::Program& program) const {
  const engine::Variable& variable = program.variables[id];
  Json json = {{"id", variable_id(id)},
               {"object", "semantic_variable"},
               {"session_id", id_},
               {"name", variable.name},
               {"status", variable.value ? "ready" : "pending"},
               {"content", variable.value ? Json(*variable.value) : Json(nullptr)}};
  if (!variable.producer || !program.nodes[*variable.producer].result) return json;
  const engine::Node& node = program.nodes[*variable.producer];
  json["finish_reason"] = finish_reason(node.result->stop_reason);
  json["usage"] = {{"prompt_tokens", node.progress.prompt_tokens},
                   {"cached_tokens", node.progress.cached_tokens},
                   {"completion_tokens", node.progress.generated_tokens}};
  return json;
}

Json SemanticSession::variable_json(engine::VariableId id) const {
  return look([&](const engine::Program& program) { return variable_json(id, program); });
}

SemanticSession::Outcome SemanticSession::outcome(engine::VariableId id) const {
  return look([&](const engine::Program& program) {
    const engine::Variable& variable = program.variables[id];
    return Outcome{variable.value ? variable_json(id, program) : Json(), variable.error};
  });
}

std::vector<engine::VariableId> SemanticSession::final_outputs() const {
  return look([](const engine::Program& program) { return engine::final_outputs(program); });
}

void SemanticSession::await(std::shared_ptr<Waiter> waiter) {
  use();
  if (closed_) throw ApiError(404, "the session has ended", {}, "unknown_session");
  if (waiter->exchange()->gone()) return waiter->left();
  // Posted, as it may happen while the waiters are walked.
  waiter->exchange()->on_gone([this_loop = &loop_, weak = weak_from_this()] {
    this_loop->post([weak] {
      if (const auto alive = weak.lock()) alive->drop_gone();
    });
  });
  if (waiter->settle(*this)) return;
  waiter->begin();
  for (const auto& [node, text] : partial_) {
    const auto output = look([id = node](const engine::Program& program) { return program.nodes[id].output; });
    waiter->piece(*this, output, text);
  }
  waiters_.push_back(std::move(waiter));
}

void SemanticSession::drop_gone() {
  std::erase_if(waiters_, [](const std::shared_ptr<Waiter>& waiter) {
    if (!waiter->exchange()->gone()) return false;
    waiter->left();
    return true;
  });
}

// Text of a call that runs. Streams of its output get it, unless a transformation stands between.
void SemanticSession::piece(engine::NodeId id, const std::string& text) {
  const auto [output, ended] = look([&](const engine::Program& program) {
    const engine::Node& node = program.nodes[id];
    const bool plain = node.transform.kind == engine::ValueTransform::Kind::kNone;
    return std::pair(plain ? std::optional(node.output) : std::nullopt,
                     node.progress.state >= engine::NodeState::kDone);
  });
  if (!output) return;
  if (!ended) partial_[id] += text;
  for (const auto& waiter : waiters_) {
    if (!waiter->exchange()->gone()) waiter->piece(*this, *output, text);
  }
}

// Something has its value, or has failed.
void SemanticSession::settle() {
  use();
  look([&](const engine::Program& program) {
    for (engine::NodeId id = 0; id < program.nodes.size(); ++id) {
      const engine::NodeProgress& progress = program.nodes[id].progress;
      if (progress.state < engine::NodeState::kDone || counted_[id]) continue;
      counted_[id] = true;
      partial_.erase(id);
      metrics_.prompt_tokens += progress.read_tokens;
      metrics_.generated_tokens += progress.generated_tokens;
    }
  });
  std::erase_if(waiters_, [&](const std::shared_ptr<Waiter>& waiter) {
    return !waiter->exchange()->gone() && waiter->settle(*this);
  });
}

bool SemanticSession::expired(Clock::duration after) const {
  return waiters_.empty() && Clock::now() - last_used_.load() > after && !at_work();
}

void SemanticSession::close() {
  closed_ = true;
  const ApiError ended(410, "the session was deleted", {}, "session_deleted");
  for (const auto& waiter : waiters_) waiter->refuse(ended);
  waiters_.clear();
  end_run();
}

void SemanticSessions::insert(const std::shared_ptr<SemanticSession>& session) {
  const std::lock_guard lock(mutex_);
  if (sessions_.size() >= kMostSessions) {
    ApiError full(429, fmt::format("{} sessions are open already; delete some", sessions_.size()), {},
                  "too_many_sessions");
    full.retry_after = 60;
    throw full;
  }
  sessions_.emplace(letters_of(session->id()), session);
}

std::shared_ptr<SemanticSession> SemanticSessions::find(std::string_view id, const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(letters_of(id));
  if (found == sessions_.end() || found->second->owner() != owner) {
    const bool variable = id.starts_with(kVariable);
    throw ApiError(404, fmt::format("there is no {} '{}'", variable ? "variable" : "session", id.substr(0, 100)),
                   variable ? "var_id" : "session_id", variable ? "unknown_variable" : "unknown_session");
  }
  return found->second;
}

std::vector<std::shared_ptr<SemanticSession>> SemanticSessions::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<SemanticSession>> sessions;
  for (const auto& [letters, session] : sessions_) sessions.push_back(session);
  return sessions;
}

void SemanticSessions::erase(const std::shared_ptr<SemanticSession>& session) {
  session->close();
  const std::lock_guard lock(mutex_);
  sessions_.erase(std::string(letters_of(session->id())));
}

void SemanticSessions::sweep() {
  for (const auto& session : all()) {
    if (session->expired(ttl_)) erase(session);
  }
}

}  // namespace lathe::serve
