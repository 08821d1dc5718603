// The semantic-variable API: /v1/session, /v1/semantic_call, /v1/semantic_var, /v1/program (Parrot, sections 4 and 7).
#include <algorithm>
#include <memory>
#include <string>

#include "base/json.h"
#include "serve/generation.h"
#include "serve/openai/fields.h"
#include "serve/openai/kv_policy_field.h"
#include "serve/semantic/sessions.h"
#include "serve/service.h"

namespace lathe::serve {
namespace {

// The last segment of the request's path.
std::string last_segment(const Exchange& exchange) {
  const std::string& path = exchange.request().path;
  return path.substr(path.rfind('/') + 1);
}

// The query's value of `key`; empty when it has none. Values here are words, so nothing is decoded.
std::string query_value(const std::string& query, std::string_view key) {
  for (std::size_t at = 0; at < query.size();) {
    const std::size_t end = std::min(query.find('&', at), query.size());
    const std::string_view pair = std::string_view(query).substr(at, end - at);
    const std::size_t equals = pair.find('=');
    if (pair.substr(0, equals) == key)
      return equals == std::string_view::npos ? "true" : std::string(pair.substr(equals + 1));
    at = end + 1;
  }
  return {};
}

bool query_flag(const std::string& query, const char* key, bool otherwise) {
  const std::string value = query_value(query, key);
  if (value.empty()) return otherwise;
  if (value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  throw ApiError(400, fmt::format("'{}' must be true or false", key), key, "invalid_value");
}

Json parameters_json(const SemanticSession& session, const std::vector<AddedCalls::Parameter>& parameters) {
  Json list = Json::array();
  for (const AddedCalls::Parameter& one : parameters)
    list.push_back({{"name", one.name}, {"var_id", session.variable_id(one.variable)}, {"is_output", one.is_output}});
  return list;
}

// Of the request's "model", "priority" and "kv_policy".
std::shared_ptr<SemanticSession> new_session(Service& service, const std::shared_ptr<Exchange>& exchange,
                                             Fields& fields) {
  Lease lease = service.models().acquire(fields.text("model").value_or(""));
  lease.kv_policy = read_kv_policy(fields, lease);
  engine::StartOptions options;
  options.client = exchange->key_name.empty() ? exchange->request().peer : exchange->key_name;
  options.priority = static_cast<int>(fields.integer("priority", -100, 100).value_or(0));
  return std::make_shared<SemanticSession>(new_id("sess_"), exchange->key_name, std::move(lease), std::move(options),
                                           exchange->loop(), service.metrics());
}

// Throws when `variable` needs one that would never have a value.
void check_set(const SemanticSession& session, engine::VariableId variable, unsigned status) {
  const std::string unset = session.unset_behind(variable);
  if (unset.empty()) return;
  throw ApiError(status, fmt::format("variable '{}' has no value and no call produces it; set it first", unset), unset,
                 "variable_unset");
}

void await(const std::shared_ptr<SemanticSession>& session, const std::shared_ptr<Waiter>& waiter) {
  waiter->exchange()->post([session, waiter] {
    try {
      session->await(waiter);
    } catch (...) {
      answer_error(waiter->exchange(), std::current_exception());
    }
  });
}

}  // namespace

void open_session(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = exchange->request().body.empty() ? Json::object() : parse_body(exchange->request().body);
    Fields fields(body);
    const auto session = new_session(service, exchange, fields);
    fields.finish();
    service.sessions().insert(session);
    answer(exchange, {{"session_id", session->id()},
                      {"object", "semantic_session"},
                      {"model", session->lease().name},
                      {"expires_after_seconds", service.sessions().ttl().count()}});
  });
}

void show_session(Service& service, const std::shared_ptr<Exchange>& exchange) {
  const auto session = service.sessions().find(last_segment(*exchange), exchange->key_name);
  session->use();
  answer(exchange, session->state());
}

void delete_session(Service& service, const std::shared_ptr<Exchange>& exchange) {
  const auto session = service.sessions().find(last_segment(*exchange), exchange->key_name);
  service.sessions().erase(session);
  answer(exchange, {{"session_id", session->id()}, {"object", "semantic_session"}, {"deleted", true}});
}

void semantic_call(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    Fields fields(body);
    const auto session = service.sessions().find(fields.required_text("session_id"), exchange->key_name);
    exchange->model = session->lease().name;
    session->use();
    const bool single = body.contains("template");
    const AddedCalls added = session->add(body, single ? add_call : add_calls);
    Json calls = Json::array(), variables = Json::object();
    for (const auto& parameters : added.calls) {
      calls.push_back({{"request_id", new_id("call_")}, {"parameters", parameters_json(*session, parameters)}});
      for (const AddedCalls::Parameter& one : parameters)
        variables[session->name_of(one.variable)] = session->variable_id(one.variable);
    }
    Json reply = {{"session_id", session->id()}, {"object", "semantic_call"}};
    if (single) {
      reply.update(calls.front());
    } else {
      reply["calls"] = std::move(calls);
      reply["variables"] = std::move(variables);
    }
    answer(exchange, reply);
  });
}

void set_variable(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const std::string var_id = last_segment(*exchange);
    const auto session = service.sessions().find(var_id, exchange->key_name);
    const engine::VariableId variable = session->find(var_id);
    const Json body = parse_body(exchange->request().body);
    Fields fields(body);
    std::string content = fields.required_text("content");
    fields.ignore({"session_id"});
    fields.finish();
    session->use();
    session->set(variable, std::move(content));
    answer(exchange, {{"id", var_id}, {"object", "semantic_variable"}, {"status", "ready"}});
  });
}

void get_variable(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const std::string var_id = last_segment(*exchange), &query = exchange->request().query;
    const auto session = service.sessions().find(var_id, exchange->key_name);
    const engine::VariableId variable = session->find(var_id);
    exchange->model = session->lease().name;
    const std::string criteria = query_value(query, "criteria");
    const bool stream = query_flag(query, "stream", false), wait = query_flag(query, "wait", true);
    if (!criteria.empty()) session->want(variable, goal_named(criteria, "criteria"));
    if (!wait) return answer(exchange, session->variable_json(variable));
    check_set(*session, variable, 409);
    await(session, std::make_shared<VariableWaiter>(exchange, stream, variable));
  });
}

// A session for one request: opened, submitted, waited for and ended in one round trip.
void whole_program(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    Json body = parse_body(exchange->request().body);
    Fields fields(body);
    const auto session = new_session(service, exchange, fields);
    const bool stream = fields.boolean("stream").value_or(false);
    for (const char* own : {"model", "priority", "kv_policy", "stream"}) body.erase(own);
    exchange->model = session->lease().name;
    std::vector<engine::VariableId> wanted;
    for (const auto& [variable, goal] : session->add(body, add_calls).wanted) {
      if (std::find(wanted.begin(), wanted.end(), variable) == wanted.end()) wanted.push_back(variable);
    }
    if (wanted.empty()) {
      wanted = session->final_outputs();
      for (const engine::VariableId variable : wanted) session->want(variable, engine::Goal::kLatency);
    }
    for (const engine::VariableId variable : wanted) check_set(*session, variable, 400);
    service.sessions().insert(session);
    const auto over = [&service, weak = std::weak_ptr(session)] {
      const auto alive = weak.lock();
      if (alive == nullptr) return;
      alive->loop().post([&service, alive] {
        alive->record(service.requests(), "/v1/program");
        service.sessions().erase(alive);
      });
    };
    await(session, std::make_shared<ProgramWaiter>(exchange, stream, std::move(wanted), over));
  });
}

}  // namespace lathe::serve
