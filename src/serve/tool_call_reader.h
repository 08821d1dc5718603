// The calls of tools in an answer, read while it is generated: whose they are as soon as a name is complete, arguments
// byte for byte as the model writes them. A stream tells the events, a whole answer the calls: both are the same text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/tool_format.h"

namespace lathe::serve {

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text
};

// What a piece of text adds to a call: its name, with which it begins, or more of its arguments.
struct ToolCallEvent {
  std::size_t call;  // counted from 0
  std::string name, arguments;
};

class ToolCallReader {
 public:
  // Both must outlive it.
  ToolCallReader(const ToolFormat& format, std::span<const Tool> tools) : format_(format), tools_(tools) {}

  // The next piece, of any size, of the text that begins after the trigger (with it, where it is part of the call).
  std::vector<ToolCallEvent> push(std::string_view text);

  // All that have begun.
  const std::vector<ToolCall>& calls() const { return calls_; }
  // The text so far is one or more calls of `tools`, and each of them is complete.
  bool whole() const { return state_ == State::kBetween && !calls_.empty(); }

 private:
  // kHead is {"name": NAME, "arguments": up to and with the brace that opens the arguments; tool_calls_schema() has
  // exactly this order. Of what is kWrong nothing more is read.
  enum class State : std::uint8_t { kBetween, kHead, kArguments, kTail, kWrong };
  State read(char c, std::vector<ToolCallEvent>& events);
  State read_head(char c, std::vector<ToolCallEvent>& events);
  State read_argument(char c, std::vector<ToolCallEvent>& events);
  bool ends_string(char c);

  const ToolFormat& format_;
  std::span<const Tool> tools_;
  std::vector<ToolCall> calls_;
  State state_ = State::kBetween;
  std::size_t parts_ = 0;  // of the head, complete
  std::string part_;       // of the head, on its way
  int depth_ = 0;          // brackets of the arguments that are open
  bool in_string_ = false, escaped_ = false;
};

}  // namespace lathe::serve
