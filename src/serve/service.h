// The server's rooms joined: who may ask what, which handler answers, and what is written down about it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/http/exchange.h"
#include "serve/http/server.h"
#include "serve/metrics.h"
#include "serve/models.h"
#include "serve/request_log.h"
#include "serve/semantic/sessions.h"

namespace lathe::serve {

struct ServiceOptions {
  std::vector<std::string> api_keys;       // none: everybody may ask
  std::vector<std::string> allowed_hosts;  // names of this server beside its addresses, for the Host header
  std::chrono::seconds session_ttl{1800};  // how long a session of semantic variables may go unused
  bool loopback_only = true;               // what it listens on: then the Host header must name this machine
  std::function<void(const std::string& line)> access_log;  // may be empty; one JSON object a line, no prompt text
};

class Service {
 public:
  Service(Models& models, ServiceOptions options);

  // Answers a request, at once or later. Event loop only, as everything here but models().
  void handle(const std::shared_ptr<Exchange>& exchange);
  // A request is over.
  void done(const Exchange& exchange);
  void set_server(const Server* server) { server_ = server; }

  Models& models() { return models_; }
  Metrics& metrics() { return metrics_; }
  // Beam searches that run. Any thread.
  std::atomic<unsigned>& searches() { return searches_; }
  SemanticSessions& sessions() { return sessions_; }
  RequestLog& requests() { return requests_; }

 private:
  using Digest = std::array<unsigned char, 32>;
  bool allowed(Exchange& exchange) const;
  Models& models_;
  ServiceOptions options_;
  std::vector<Digest> key_digests_;
  Metrics metrics_;
  SemanticSessions sessions_;
  RequestLog requests_;
  std::atomic<unsigned> searches_{0};
  const Server* server_ = nullptr;
};

// A route: method, path (a trailing * takes any rest) and what answers it. docs/verbs/serve.md lists them.
struct Route {
  std::string_view method, path;
  void (*handle)(Service& service, const std::shared_ptr<Exchange>& exchange);
  bool open = false;  // without a key
};

// The handlers, one file per part of the API.
void chat_completions(Service& service, const std::shared_ptr<Exchange>& exchange);
void completions(Service& service, const std::shared_ptr<Exchange>& exchange);
void responses(Service& service, const std::shared_ptr<Exchange>& exchange);
void embeddings(Service& service, const std::shared_ptr<Exchange>& exchange);
void list_models(Service& service, const std::shared_ptr<Exchange>& exchange);
void one_model(Service& service, const std::shared_ptr<Exchange>& exchange);
void tokenize(Service& service, const std::shared_ptr<Exchange>& exchange);
void detokenize(Service& service, const std::shared_ptr<Exchange>& exchange);
void open_session(Service& service, const std::shared_ptr<Exchange>& exchange);
void show_session(Service& service, const std::shared_ptr<Exchange>& exchange);
void delete_session(Service& service, const std::shared_ptr<Exchange>& exchange);
void whole_program(Service& service, const std::shared_ptr<Exchange>& exchange);
void semantic_call(Service& service, const std::shared_ptr<Exchange>& exchange);
void set_variable(Service& service, const std::shared_ptr<Exchange>& exchange);
void get_variable(Service& service, const std::shared_ptr<Exchange>& exchange);

// Runs `body` on a worker thread; what it throws becomes the answer.
void on_worker(const std::shared_ptr<Exchange>& exchange, std::function<void()> body);
// Answers from any thread.
void answer(const std::shared_ptr<Exchange>& exchange, const Json& body);
void answer_error(const std::shared_ptr<Exchange>& exchange, const std::exception_ptr& error);

}  // namespace lathe::serve
