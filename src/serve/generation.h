// A program of independent calls on its way to one answer: started on a worker thread, stepped by the engine, told to a
// Reply on the event loop, and cancelled when the client goes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/generator.h"
#include "serve/service.h"

namespace lathe::serve {

// How one endpoint writes what is generated. Called on the event loop; `choice` counts the calls.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual const std::string& id() const = 0;  // of the answer
  virtual void piece(std::size_t choice, std::string_view text, std::span<const api::GeneratedToken> tokens) = 0;
  virtual void choice_done(std::size_t choice, const api::GenerateResult& result) = 0;
  virtual void finished() = 0;
};

struct GenerationStart {
  Lease lease;
  std::vector<api::GenerateRequest> requests;  // with prompt_ids; one for each choice
  bool tokens = false;                         // pieces carry their tokens
  int priority = 0;
  std::unique_ptr<Reply> reply;
};

// On a worker thread; throws what Session::start throws. Errors while it runs are answered as errors, or, in a stream
// that has begun, sent as its last event.
void start_generation(Service& service, const std::shared_ptr<Exchange>& exchange, GenerationStart start);

// Server-sent events.
void begin_events(Exchange& exchange);
void send_event(Exchange& exchange, const Json& data);                          // data: {...}
void send_event(Exchange& exchange, std::string_view event, const Json& data);  // event: NAME, data: {...}
void send_done(Exchange& exchange);                                             // data: [DONE]

// "chatcmpl-" and the like with 24 random letters behind.
std::string new_id(std::string_view prefix);
std::int64_t unix_now();
// OpenAI's word for why a text ended.
std::string_view finish_reason(api::StopReason reason);

}  // namespace lathe::serve
