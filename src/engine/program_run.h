// A program on its way through the engine: a node enters the scheduler's queue as soon as its inputs have values, and
// what it generates becomes its output's value. Session::run waits for one; a server is told by callbacks.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "engine/logits_processor.h"
#include "engine/program.h"
#include "engine/session.h"
#include "model/adapter.h"

namespace lathe::engine {

// Made by Session::start. `program` must not be touched between start and on_finished but by the callbacks.
class ProgramRun {
 public:
  ProgramRun(Program graph, ProgramEvents events, StartOptions options)
      : program(std::move(graph)), events_(std::move(events)), options_(std::move(options)) {}

  // From any thread: nodes that run stop before their next token, the others never start.
  void cancel() { cancel_->cancel(); }
  // Every node has its result, or the error is known; on_finished has returned.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  const std::exception_ptr& error() const { return error_; }

  Program program;

 private:
  friend class Session;
  // What can be known before anything runs; on the caller's thread. Throws Error for a program that cannot run.
  void prepare(Session::State& session);
  // The rest happens under the session's mutex, on the thread that steps.
  void begin(Session::State& session);
  void submit_ready(Session::State& session);
  void submit(Session::State& session, NodeId id);
  void end_if_over(Session::State& session);
  std::vector<text::TokenId> prompt_ids(const Node& node, const Session::State& session) const;

  struct Prepared {
    std::vector<text::TokenId> prompt;  // empty: its text is not known yet
    std::vector<std::shared_ptr<const model::Adapter>> adapters;
    std::unique_ptr<LogitsProcessor> processor;
  };

  ProgramEvents events_;
  StartOptions options_;
  std::shared_ptr<CancelToken> cancel_ = std::make_shared<CancelToken>();
  std::vector<Prepared> prepared_;  // by node
  std::vector<bool> submitted_;
  std::size_t in_flight_ = 0;
  std::exception_ptr error_;  // the first; afterwards no node starts, and running ones stop
  std::atomic<bool> finished_{false};
};

}  // namespace lathe::engine
