// Sessions of semantic variables: a session is one open program of the engine, the model it runs on, and the clients
// that wait for its variables. It ends when it is deleted, or when nobody has used it for a while.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/program_run.h"
#include "serve/http/exchange.h"
#include "serve/models.h"
#include "serve/request_log.h"
#include "serve/semantic/call_request.h"
#include "serve/semantic/waiters.h"

namespace lathe::serve {

struct Metrics;

class SemanticSession : public std::enable_shared_from_this<SemanticSession> {
 public:
  using Clock = std::chrono::steady_clock;

  // `owner` is the name of the key that may use it.
  SemanticSession(std::string id, std::string owner, Lease lease, engine::StartOptions options, Loop& loop,
                  Metrics& metrics);
  ~SemanticSession();

  const std::string& id() const { return id_; }
  const std::string& owner() const { return owner_; }
  const Lease& lease() const { return lease_; }
  Loop& loop() const { return loop_; }

  // ---- From any thread. ----
  // "var_" + the session's letters + the variable's number, and back.
  std::string variable_id(engine::VariableId variable) const;
  engine::VariableId find(const std::string& var_id) const;  // throws ApiError 404
  std::string name_of(engine::VariableId variable) const;
  // How a variable is: what is told of it once it has its value, otherwise null; the cause when it never will.
  struct Outcome {
    Json value;
    std::exception_ptr failure;
  };
  Outcome outcome(engine::VariableId variable) const;
  Json variable_json(engine::VariableId variable) const;
  // The outputs that no call reads.
  std::vector<engine::VariableId> final_outputs() const;
  using Add = AddedCalls (*)(const Json&, const Lease&, engine::Program&, VariableNames&, const FindVariable&);
  // Adds the calls of a request, all of them or none; they start as soon as they can.
  AddedCalls add(const Json& request, Add add);
  void set(engine::VariableId variable, std::string value);
  void want(engine::VariableId variable, engine::Goal goal);

  // The name of an input that `variable` needs and that nobody has set or produces; empty when there is none.
  std::string unset_behind(engine::VariableId variable) const;
  // What the programs view of a page shows: nodes, states, times; no text.
  Json state() const;
  bool at_work() const;  // a call is queued or running
  // Keeps the figures of its calls on view, as those of a request of `endpoint` that has ended.
  void record(RequestLog& log, std::string endpoint) const;

  // ---- On the event loop. ----
  // From now on the waiter is told what it waits for, some of it perhaps at once.
  void await(std::shared_ptr<Waiter> waiter);
  // Ends it: calls are cancelled, whoever waits is told.
  void close();
  void use() { last_used_ = Clock::now(); }
  bool expired(Clock::duration after) const;

 private:
  void start(const Json& request);
  void end_run();
  // Looks at the program, which is empty before there are calls; `body` must be quick.
  template <class Body>
  auto look(const Body& body) const {
    const auto run = run_.load();
    return run != nullptr ? run->look(body) : body(engine::Program());
  }
  void piece(engine::NodeId node, const std::string& text);
  void settle();
  void drop_gone();
  std::optional<engine::VariableId> find(const std::string& var_id, std::size_t count) const;
  Json variable_json(engine::VariableId variable, const engine::Program& program) const;

  std::string id_, owner_;
  Lease lease_;
  engine::StartOptions options_;
  Loop& loop_;
  Metrics& metrics_;
  engine::Session* session_ = nullptr;                    // of the model's engines: set before run_, and with it
  std::atomic<std::shared_ptr<engine::ProgramRun>> run_;  // null: no calls yet
  std::int64_t created_;
  Clock::time_point began_ = Clock::now();
  mutable std::mutex names_mutex_;
  VariableNames names_;
  // Of the event loop.
  std::vector<std::shared_ptr<Waiter>> waiters_;
  std::map<engine::NodeId, std::string> partial_;  // of calls that run
  std::map<engine::NodeId, bool> counted_;
  std::atomic<Clock::time_point> last_used_{Clock::now()};
  bool closed_ = false;
};

// Those of a server.
class SemanticSessions {
 public:
  static constexpr std::size_t kMostSessions = 1024;
  explicit SemanticSessions(std::chrono::seconds ttl) : ttl_(ttl) {}

  std::chrono::seconds ttl() const { return ttl_; }
  // From any thread. Throws ApiError 429 when there are too many.
  void insert(const std::shared_ptr<SemanticSession>& session);
  // The session of an id, or of the id of one of its variables, if it is `owner`'s; throws ApiError 404.
  std::shared_ptr<SemanticSession> find(std::string_view id, const std::string& owner) const;
  std::vector<std::shared_ptr<SemanticSession>> all() const;
  // On the event loop.
  void erase(const std::shared_ptr<SemanticSession>& session);
  void sweep();

 private:
  std::chrono::seconds ttl_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<SemanticSession>, std::less<>> sessions_;  // by the letters of their ids
};

}  // namespace lathe::serve
