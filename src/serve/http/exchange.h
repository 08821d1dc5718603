// One request and its answer. Handlers answer through it whenever they are ready, whole or piece by piece; the
// connection sends what is there as fast as the client reads. Everything but post() and work() belongs to the event
// loop's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "serve/http/message.h"

namespace lathe::serve {

// Where tasks run.
class Loop {
 public:
  virtual ~Loop() = default;
  virtual void post(std::function<void()> task) = 0;  // on the event loop; from any thread
  virtual void work(std::function<void()> task) = 0;  // on a worker thread; the task must not throw
};

class Exchange {
 public:
  // Unsent bytes beyond which a client counts as gone: a reader that stalls costs this much memory and nothing else.
  static constexpr std::size_t kMostUnsent = std::size_t{1} << 20;

  Exchange(Loop& loop, Request request) : request_(std::move(request)), loop_(loop) {}

  const Request& request() const { return request_; }
  Loop& loop() { return loop_; }
  void post(std::function<void()> task) { loop_.post(std::move(task)); }
  void work(std::function<void()> task) { loop_.work(std::move(task)); }

  // The whole answer.
  void respond(Response response);
  // The head of an answer that follows in pieces. Further calls after the client has gone do nothing.
  void begin_stream(Response head);
  void write(std::string_view data);
  void finish();
  bool begun() const { return begun_; }

  // The client went away, or reads too slowly; `action` runs once, when that happens (at once if it has).
  bool gone() const { return gone_; }
  void on_gone(std::function<void()> action);

  // For the access log: what the answer was about.
  std::string model;
  std::string key_name;  // of the API key; never the key
  std::uint64_t prompt_tokens = 0, generated_tokens = 0;

  // ---- The connection's side ----
  bool streams() const { return streams_; }
  bool finished() const { return finished_; }
  const Response& response() const { return response_; }
  std::string take_unsent() { return std::exchange(unsent_, {}); }
  bool has_unsent() const { return !unsent_.empty(); }
  std::uint64_t sent_bytes() const { return bytes_; }
  void set_notify(std::function<void()> notify) { notify_ = std::move(notify); }
  void client_gone();

 private:
  void notify() {
    if (notify_) notify_();
  }
  Request request_;
  Loop& loop_;
  Response response_;
  std::string unsent_;
  std::uint64_t bytes_ = 0;
  bool begun_ = false, streams_ = false, finished_ = false, gone_ = false;
  std::function<void()> notify_, gone_action_;
};

}  // namespace lathe::serve
