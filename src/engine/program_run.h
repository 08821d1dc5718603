// A program on its way through the engine: a node enters the scheduler's queue as soon as its inputs have values, and
// what it generates becomes its output's value, without anybody asking in between. A node that fails takes those that
// need its output with it and nobody else. Session::run waits for a program; a server is told by callbacks. An open
// program grows while it runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "engine/logits_processor.h"
#include "engine/program.h"
#include "engine/scheduler.h"
#include "engine/session.h"
#include "model/adapter.h"

namespace lathe::engine {

// Made by Session::start.
class ProgramRun {
 public:
  ProgramRun(Program graph, ProgramEvents events, StartOptions options)
      : program(std::move(graph)), events_(std::move(events)), options_(std::move(options)) {}

  // From any thread: nodes that run stop before their next token, the others never start.
  void cancel() { cancel_->cancel(); }
  // Every node has ended, of an open program after close(), too; on_finished has returned.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  const std::exception_ptr& error() const { return error_; }
  // Looks at the program while it runs, from any thread; `body` must be quick.
  template <class Body>
  auto look(const Body& body) const {
    const std::lock_guard lock(mutex_);
    return body(static_cast<const Program&>(program));
  }

  // Otherwise only to be touched when it is finished.
  Program program;

 private:
  friend class Session;
  // ---- On the caller's thread. ----
  // What can be known before anything runs. Throws Error for a program that cannot run.
  void prepare(Session::State& session);
  void prepare_nodes(Session::State& session);
  void extend(Session::State& session, const std::function<void(Program&)>& change,
              const std::function<void(std::uint64_t)>& enqueue);
  void set_value(VariableId variable, std::string value);
  void want(VariableId variable, Goal goal);
  void close();
  // ---- On the thread that steps, under the session's mutex. ----
  bool begin();  // true the first time
  void advance(Session::State& session);
  void submit(Session::State& session, NodeId id);
  Job job_for(Session::State& session, NodeId id);
  void node_done(Session::State& session, NodeId id, api::GenerateResult result);
  void node_failed(Session::State& session, NodeId id, const std::exception_ptr& reason);
  std::vector<text::TokenId> prompt_ids(const Node& node, const Session::State& session) const;

  struct Prepared {
    std::vector<text::TokenId> prompt;  // empty: its text is not known yet
    std::vector<std::shared_ptr<const model::Adapter>> adapters;
    std::shared_ptr<const cache::KvPolicy> policy;
    std::unique_ptr<LogitsProcessor> processor;
    std::shared_ptr<Standing> standing;
  };

  ProgramEvents events_;
  StartOptions options_;
  std::shared_ptr<CancelToken> cancel_ = std::make_shared<CancelToken>();
  std::uint64_t number_ = 0;
  mutable std::mutex mutex_;        // guards the program and what follows; never held while events are called
  std::vector<Prepared> prepared_;  // by node
  std::size_t unfinished_ = 0;      // nodes that have not ended
  bool closed_ = false;
  // Of the thread that steps alone.
  bool begun_ = false;
  std::exception_ptr error_;
  std::atomic<bool> finished_{false};
};

}  // namespace lathe::engine
