// The client of the semantic-variable API (include/lathe/semantic.hpp).
#include "lathe/semantic.hpp"

#include "base/error.h"
#include "base/json.h"
#include "net/http_request.h"

namespace lathe {
namespace {

constexpr std::size_t kMostAnswer = std::size_t{256} << 20;
constexpr std::chrono::hours kPatience{1};  // a variable may take long

std::string query_of(Criterion criterion) {
  switch (criterion) {
    case Criterion::kLatency:
      return "criteria=latency";
    case Criterion::kThroughput:
      return "criteria=throughput";
    default:
      return "";
  }
}

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json program_json(const std::vector<SemanticCall>& calls, const std::map<std::string, std::string>& values) {
  Json list = Json::array();
  for (const SemanticCall& call : calls) {
    Json parameters = Json::array();
    for (const Placeholder& one : call.placeholders) {
      Json parameter = {{"name", one.name}, {"is_output", one.is_output}};
      if (!one.transform.empty()) parameter["transform"] = one.transform;
      parameters.push_back(std::move(parameter));
    }
    list.push_back({{"template", call.text},
                    {"parameters", std::move(parameters)},
                    {"max_tokens", call.max_tokens},
                    {"temperature", call.temperature},
                    {"ignore_eos", call.ignore_eos}});
  }
  return {{"calls", std::move(list)}, {"variables", values}};
}

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

// The body of the server's answer to `method` `url``path`.
std::string ask(const std::string& url, const std::string& key, const std::string& method, const std::string& path,
                const std::string& body) {
  net::HttpAsk asked{.method = method, .body = body};
  if (!body.empty()) asked.fields["Content-Type"] = "application/json";
  if (!key.empty()) asked.fields["Authorization"] = "Bearer " + key;
  net::HttpRequest request(net::parse_url(url + path), asked, nullptr, kPatience);
  std::string answer;
  for (auto piece = request.read(); !piece.empty(); piece = request.read()) {
    answer.append(piece.begin(), piece.end());
    if (answer.size() > kMostAnswer) throw Error("answers with more than 256 MiB", url);
  }
  if (request.header().status == 200) return answer;
  const Json error = Json::parse(answer, nullptr, false);
  if (error.is_object() && error.contains("error") && error["error"].is_object())
    throw Error(error["error"].value("message", "an error without a message"), url);
  throw Error(fmt::format("answers with status {}", request.header().status), url, "is it a Lathe server?");
}

}  // namespace

std::map<std::string, std::string> run_program(const std::string& url, const std::vector<SemanticCall>& calls,
                                               const std::map<std::string, std::string>& values,
                                               const std::vector<std::string>& wanted, const std::string& key,
                                               const std::string& model) {
  Json body = program_json(calls, values);
  if (!model.empty()) body["model"] = model;
  for (const std::string& name : wanted) body["want"][name] = "latency";
  const std::string server = without_slash(url);
  const Json reply = parse_json(ask(server, key, "POST", "/v1/program", text_of(body)), server);
  std::map<std::string, std::string> texts;
  const Json outputs = json_get<Json>(reply, "outputs", server);
  for (const auto& [name, output] : outputs.items()) {
    if (output.contains("error")) throw Error(json_get<std::string>(output["error"], "message", server), server);
    texts[name] = json_get<std::string>(output, "content", server);
  }
  return texts;
}

SemanticClient::SemanticClient(std::string url, std::string key, const std::string& model)
    : url_(without_slash(std::move(url))), key_(std::move(key)) {
  Json body = Json::object();
  if (!model.empty()) body["model"] = model;
  session_ = json_get<std::string>(parse_json(ask("POST", "/v1/session", text_of(body)), url_), "session_id", url_);
}

SemanticClient::~SemanticClient() {
  try {
    ask("DELETE", "/v1/session/" + session_);
  } catch (const std::exception&) {
    // The server is gone, or forgets the session by itself.
  }
}

std::map<std::string, std::string> SemanticClient::submit(const std::vector<SemanticCall>& calls,
                                                          const std::map<std::string, std::string>& values) {
  return submit_json(text_of(program_json(calls, values)));
}

std::map<std::string, std::string> SemanticClient::submit_json(const std::string& program) {
  Json body = parse_json(program, "program", 100);
  body["session_id"] = session_;
  const Json answer = parse_json(ask("POST", "/v1/semantic_call", text_of(body)), url_);
  return json_get<std::map<std::string, std::string>>(answer, "variables", url_);
}

void SemanticClient::set(const std::string& var_id, const std::string& content) {
  ask("POST", "/v1/semantic_var/" + var_id, text_of({{"content", content}}));
}

std::string SemanticClient::get(const std::string& var_id, Criterion criterion) {
  const Json answer = parse_json(ask("GET", "/v1/semantic_var/" + var_id + "?" + query_of(criterion)), url_);
  return json_get<std::string>(answer, "content", url_);
}

void SemanticClient::want(const std::string& var_id, Criterion criterion) {
  ask("GET", "/v1/semantic_var/" + var_id + "?wait=false&" + query_of(criterion));
}

std::string SemanticClient::ask(const std::string& method, const std::string& path, const std::string& body) {
  return lathe::ask(url_, key_, method, path, body);
}

std::string SemanticClient::state() { return ask("GET", "/v1/session/" + session_); }

}  // namespace lathe
