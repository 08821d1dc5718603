// The server's request layer without sockets: a method, a path, headers and a body go through the same service as real
// requests, on the model that ships. Generations are cancelled as soon as they have begun.
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "base/json.h"
#include "base/log.h"
#include "formats/model_file.h"
#include "fuzz/guarded.h"
#include "fuzz/seeds.h"
#include "fuzz/targets.h"
#include "serve/service.h"

namespace lathe::fuzz {
namespace {

// Everything runs on the thread that asks, but what the engine posts.
class InlineLoop final : public serve::Loop {
 public:
  void post(std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  void work(std::function<void()> task) override { task(); }
  bool run_one() {
    std::function<void()> task;
    {
      const std::lock_guard lock(mutex_);
      if (tasks_.empty()) return false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
    return true;
  }

 private:
  std::mutex mutex_;
  std::deque<std::function<void()>> tasks_;
};

struct Bench {
  InlineLoop loop;  // outlives the sessions of semantic variables, which post to it
  engine::Runtime runtime{{.cpu = {.threads = 1}}};
  serve::Models models{
      runtime,
      {{"tiny",
        [] { return formats::load_model(std::filesystem::path(LATHE_SOURCE_DIR) / "models/tiny/stories260K.gguf"); },
        {}}},
      {.context = 128, .max_batch = 4, .max_waiting = 8},
      0};
  serve::Service service{models, {}};
};

// Where an input says so, the ids of a session that is opened for it.
constexpr std::string_view kLetters = "FUZZSESSION";

std::string ask(Bench& bench, std::string method, std::string path) {
  serve::Request request;
  request.method = std::move(method);
  request.path = std::move(path);
  const auto exchange = std::make_shared<serve::Exchange>(bench.loop, std::move(request));
  bench.service.handle(exchange);
  while (!exchange->begun() && bench.loop.run_one()) {
  }
  bench.service.done(*exchange);
  return exchange->response().body;
}

void put(std::string& text, const std::string& letters) {
  for (std::size_t at = text.find(kLetters); at != std::string::npos; at = text.find(kLetters, at + letters.size()))
    text.replace(at, kLetters.size(), letters);
}

void fuzz_serve(std::string_view data) {
  set_log_level(LogLevel::kError);
  static Bench bench;
  serve::Request request;
  request.received = std::chrono::steady_clock::now();
  std::string* const parts[] = {&request.method, &request.path, &request.host, &request.origin};
  for (std::string* part : parts) {
    const std::size_t end = std::min(data.find('\n'), data.size());
    *part = data.substr(0, end);
    data.remove_prefix(std::min(end + 1, data.size()));
  }
  request.body = data;
  InlineLoop& loop = bench.loop;
  std::string session;
  if (request.path.find(kLetters) != std::string::npos || request.body.find(kLetters) != std::string::npos) {
    session = Json::parse(ask(bench, "POST", "/v1/session"))["session_id"].get<std::string>();
    const std::string letters = session.substr(session.find('_') + 1);
    put(request.path, letters);
    put(request.body, letters);
  }
  const auto exchange = std::make_shared<serve::Exchange>(loop, std::move(request));
  bench.service.handle(exchange);
  while (loop.run_one()) {
  }
  if (!exchange->begun()) exchange->client_gone();
  // The engine says within a step that a cancelled generation is over.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (exchange.use_count() > 1) {
    if (!loop.run_one()) std::this_thread::yield();
    if (std::chrono::steady_clock::now() > until) throw std::logic_error("a cancelled request does not end");
  }
  bench.service.done(*exchange);
  if (!session.empty()) ask(bench, "DELETE", "/v1/session/" + session);
  const unsigned status = exchange->response().status;
  if (exchange->begun() && (status < 200 || status > 599 || status == 500))
    throw std::logic_error("answered with status " + std::to_string(status));
  if (exchange->begun() && exchange->response().content_type == "application/json" &&
      exchange->request().method != "HEAD" && !Json::accept(exchange->response().body))
    throw std::logic_error("an answer is no JSON");
}

}  // namespace

const Target& serve_target() {
  static constexpr Target kTarget{"serve", fuzz_serve, serve_seeds};
  return kTarget;
}

}  // namespace lathe::fuzz
