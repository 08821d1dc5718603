// Who waits for variables of a session: a request for one of them, or the request that brought a whole program.
// Everything here belongs to the event loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/program.h"
#include "serve/http/exchange.h"
#include "serve/openai/error.h"

namespace lathe::serve {

class SemanticSession;

class Waiter {
 public:
  Waiter(std::shared_ptr<Exchange> exchange, bool stream) : exchange_(std::move(exchange)), stream_(stream) {}
  virtual ~Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // Called once, when there is something to wait for.
  void begin();
  // Text of the call that makes `output`, as it is written.
  virtual void piece(const SemanticSession& session, engine::VariableId output, const std::string& text) = 0;
  // Tells what has its value or has failed; true when there is nothing left to wait for.
  virtual bool settle(const SemanticSession& session) = 0;
  // The client has gone.
  virtual void left() {}
  // Nothing will come any more.
  void refuse(const ApiError& error);

  const std::shared_ptr<Exchange>& exchange() const { return exchange_; }

 protected:
  bool streams() const { return stream_; }
  void send(const Json& event);         // of a stream
  void answer_whole(const Json& body);  // the last event of a stream, or all there is

 private:
  std::shared_ptr<Exchange> exchange_;
  bool stream_;
};

// Answers with one variable: whole, or, as a stream, with its text as it is written and then the whole.
class VariableWaiter final : public Waiter {
 public:
  VariableWaiter(std::shared_ptr<Exchange> exchange, bool stream, engine::VariableId variable)
      : Waiter(std::move(exchange), stream), variable_(variable) {}
  void piece(const SemanticSession& session, engine::VariableId output, const std::string& text) override;
  bool settle(const SemanticSession& session) override;

 private:
  engine::VariableId variable_;
};

// Answers when all of `wanted` have ended, with them and with the graph; as a stream, with the text of each as it is
// written and each as it ends, too. With the error of the first when all have failed. `over` is called once, when it
// has answered or the client has gone.
class ProgramWaiter final : public Waiter {
 public:
  ProgramWaiter(std::shared_ptr<Exchange> exchange, bool stream, std::vector<engine::VariableId> wanted,
                std::function<void()> over)
      : Waiter(std::move(exchange), stream), pending_(std::move(wanted)), over_(std::move(over)) {}
  void piece(const SemanticSession& session, engine::VariableId output, const std::string& text) override;
  bool settle(const SemanticSession& session) override;
  void left() override { over_(); }

 private:
  void finish(const SemanticSession& session);
  std::vector<engine::VariableId> pending_;
  Json outputs_ = Json::object();  // of those that have ended, by name
  std::vector<ApiError> failures_;
  std::function<void()> over_;
};

}  // namespace lathe::serve
