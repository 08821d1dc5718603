#include "serve/service.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>

#include "base/json.h"
#include "base/log.h"
#include "serve/assets/assets.h"
#include "serve/openai/error.h"

namespace lathe::serve {
namespace {

void health(Service&, const std::shared_ptr<Exchange>& exchange) { exchange->respond({.body = R"({"status":"ok"})"}); }

constexpr Route kRoutes[] = {
    {"GET", "/health", health, true},
    {"GET", "/v1/models", list_models},
    {"GET", "/v1/models/*", one_model},
    {"POST", "/v1/chat/completions", chat_completions},
    {"POST", "/v1/completions", completions},
    {"POST", "/v1/responses", responses},
    {"POST", "/v1/embeddings", embeddings},
    {"POST", "/tokenize", tokenize},
    {"POST", "/detokenize", detokenize},
    {"POST", "/v1/session", open_session},
    {"GET", "/v1/session/*", show_session},
    {"DELETE", "/v1/session/*", delete_session},
    {"POST", "/v1/semantic_call", semantic_call},
    {"POST", "/v1/program", whole_program},
    {"POST", "/v1/semantic_var/*", set_variable},
    {"GET", "/v1/semantic_var/*", get_variable},
};

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return path == pattern;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

// The route a path belongs to, for counting: never the path itself, which strangers choose.
std::string_view route_name(std::string_view path) {
  for (const Route& route : kRoutes) {
    if (matches(route.path, path)) return route.path;
  }
  for (const std::string_view known : {"/metrics", "/api/status"}) {
    if (path == known) return known;
  }
  return "other";
}

std::array<unsigned char, 32> digest_of(std::string_view text) {
  std::array<unsigned char, 32> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

// "host:port" or "[v6]:port" without the port.
std::string host_name(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos &&
                    (host.starts_with('[') || host.find(':') == colon);
  std::string name(port ? host.substr(0, colon) : host);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return name;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

Service::Service(Models& models, ServiceOptions options)
    : models_(models), options_(std::move(options)), sessions_(options_.session_ttl) {
  for (std::string& key : options_.api_keys) {
    key_digests_.push_back(digest_of(key));
    ::OPENSSL_cleanse(key.data(), key.size());
  }
  options_.api_keys.clear();
}

// Whether the request bears one of the keys. Digests are compared, all of them and in constant time, so that neither
// the time nor its variation says anything about a key.
bool Service::allowed(Exchange& exchange) const {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string& header = exchange.request().authorization;
  const auto digest = digest_of(header.starts_with(kBearer) ? std::string_view(header).substr(kBearer.size()) : "");
  std::size_t found = key_digests_.size();
  for (std::size_t i = 0; i < key_digests_.size(); ++i) {
    if (::CRYPTO_memcmp(key_digests_[i].data(), digest.data(), digest.size()) == 0) found = i;
  }
  if (found == key_digests_.size()) return false;
  exchange.key_name = fmt::format("key {}", found + 1);
  return true;
}

void Service::handle(const std::shared_ptr<Exchange>& exchange) try {
  ++metrics_.active;
  sessions_.sweep();
  const Request& request = exchange->request();
  const std::string_view asked = request.method,
                         method = asked == "HEAD" ? "GET" : asked;  // the connection omits the body
  const std::string host = host_name(request.host);
  // A page of another site must not reach a server on this machine by a name it controls, nor in the user's name.
  const auto& names = options_.allowed_hosts;
  if (options_.loopback_only && !host.empty() && host != "localhost" && host != "[::1]" && !host.starts_with("127.") &&
      std::find(names.begin(), names.end(), host) == names.end()) {
    throw ApiError(403, fmt::format("'{}' is not a name of this server (see --allowed-host)", host), {}, "wrong_host");
  }
  if (!request.origin.empty()) {
    const std::size_t slashes = request.origin.find("://");
    if (slashes == std::string::npos || std::string_view(request.origin).substr(slashes + 3) != request.host)
      throw ApiError(403, "pages of another site may not use this server", {}, "wrong_origin");
  }
  const bool key_ok = key_digests_.empty() || allowed(*exchange);
  const Route* route = nullptr;
  bool path_known = false;
  for (const Route& one : kRoutes) {
    if (!matches(one.path, request.path)) continue;
    path_known = true;
    if (one.method == method) route = &one;
  }
  if (route == nullptr && method == "GET") {  // the page itself needs no key; what it asks for does
    if (const Asset* asset = find_asset(request.path)) return exchange->respond(asset_response(*asset, request));
    if (request.path == "/") return exchange->respond(no_page_response());
  }
  if (!key_ok && (route == nullptr || !route->open))
    throw ApiError(401, "a valid API key is required (Authorization: Bearer KEY)", {}, "invalid_api_key");
  if (method == "GET" && request.path == "/metrics") {
    return exchange->respond({.content_type = "text/plain; version=0.0.4",
                              .body = metrics_.prometheus(models_, server_ != nullptr ? server_->connections() : 0)});
  }
  if (method == "GET" && request.path == "/api/status") {
    Json status = metrics_.status(models_, server_ != nullptr ? server_->connections() : 0);
    Json programs = Json::array();
    for (const auto& session : sessions_.all()) {
      if (session->owner() == exchange->key_name) programs.push_back(session->state());
    }
    requests_.list(exchange->key_name, programs);
    status["programs"] = std::move(programs);
    return answer(exchange, status);
  }
  if (route == nullptr && path_known) {
    throw ApiError(405, fmt::format("{} does not answer {}", request.path, request.method), {}, "method_not_allowed");
  }
  if (route == nullptr) throw ApiError(404, fmt::format("there is nothing at {}", request.path), {}, "unknown_url");
  route->handle(*this, exchange);
} catch (...) {
  answer_error(exchange, std::current_exception());
}

void Service::done(const Exchange& exchange) {
  const Request& request = exchange.request();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - request.received).count();
  const unsigned status = exchange.gone() && !exchange.begun() ? 499 : exchange.response().status;
  --metrics_.active;
  ++metrics_.requests[{std::string(route_name(request.path)), status}];
  metrics_.disconnects += exchange.gone() ? 1 : 0;
  metrics_.prompt_tokens += exchange.prompt_tokens;
  metrics_.generated_tokens += exchange.generated_tokens;
  metrics_.whole_request.add(seconds);
  if (!options_.access_log) return;
  Json line = {{"time", utc_now()},
               {"peer", request.peer},
               {"method", request.method},
               {"path", request.path.substr(0, 200)},
               {"status", status},
               {"seconds", seconds},
               {"bytes", exchange.sent_bytes()},
               {"complete", !exchange.gone()}};
  if (!exchange.key_name.empty()) line["key"] = exchange.key_name;
  if (!exchange.model.empty()) line["model"] = exchange.model;
  if (exchange.prompt_tokens > 0) line["prompt_tokens"] = exchange.prompt_tokens;
  if (exchange.generated_tokens > 0) line["generated_tokens"] = exchange.generated_tokens;
  options_.access_log(line.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void answer(const std::shared_ptr<Exchange>& exchange, const Json& body) {
  Response response;
  response.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  exchange->post([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
}

void answer_error(const std::shared_ptr<Exchange>& exchange, const std::exception_ptr& error) {
  exchange->post([exchange, response = error_response(as_api_error(error))] { exchange->respond(response); });
}

void on_worker(const std::shared_ptr<Exchange>& exchange, std::function<void()> body) {
  exchange->work([exchange, body = std::move(body)] {
    try {
      body();
    } catch (...) {
      answer_error(exchange, std::current_exception());
    }
  });
}

}  // namespace lathe::serve
