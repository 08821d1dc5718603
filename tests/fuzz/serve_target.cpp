// The server's request layer without sockets: a method, a path, headers and a body go through the same service as real
// requests, on the model that ships. Generations are cancelled as soon as they have begun.
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

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
  InlineLoop loop;
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
