#include "serve/tool_call_reader.h"

#include <algorithm>
#include <utility>

#include "base/json.h"

namespace lathe::serve {
namespace {

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

std::vector<ToolCallEvent> ToolCallReader::push(std::string_view text) {
  std::vector<ToolCallEvent> events;
  for (const char c : text) state_ = read(c, events);
  return events;
}

ToolCallReader::State ToolCallReader::read(char c, std::vector<ToolCallEvent>& events) {
  switch (state_) {
    case State::kBetween:  // what stands around calls says nothing
      parts_ = 0;
      return c == '{' ? State::kHead : State::kBetween;
    case State::kHead:
      return read_head(c, events);
    case State::kArguments:
      return read_argument(c, events);
    case State::kTail:
      if (is_json_space(c)) return State::kTail;
      return c == '}' ? State::kBetween : State::kWrong;
    case State::kWrong:
      break;
  }
  return State::kWrong;
}

// Inside a string: whether it ends here.
bool ToolCallReader::ends_string(char c) {
  const bool plain = !std::exchange(escaped_, false);
  escaped_ = plain && c == '\\';
  return plain && c == '"';
}

ToolCallReader::State ToolCallReader::read_head(char c, std::vector<ToolCallEvent>& events) {
  if (part_.empty() && is_json_space(c)) return State::kHead;
  part_ += c;
  const bool string = part_.front() == '"';
  if (string && (part_.size() == 1 || !ends_string(c))) return State::kHead;
  const std::string part = std::exchange(part_, {});
  const std::string expected[] = {"\"name\"", ":", "", ",", Json(format_.arguments_key).dump(), ":", "{"};
  constexpr std::size_t kName = 2;
  if (parts_ == kName) {
    const Json name = Json::parse(part, nullptr, false);
    const bool known = name.is_string() &&
                       std::any_of(tools_.begin(), tools_.end(), [&](const Tool& tool) { return name == tool.name; });
    if (!known) return State::kWrong;
    events.push_back({calls_.size(), name.get<std::string>(), {}});
    calls_.push_back({name.get<std::string>(), {}});
  } else if (part != expected[parts_]) {
    return State::kWrong;
  }
  if (++parts_ < std::size(expected)) return State::kHead;
  return read_argument(c, events);
}

ToolCallReader::State ToolCallReader::read_argument(char c, std::vector<ToolCallEvent>& events) {
  std::string& arguments = calls_.back().arguments;
  arguments += c;
  if (events.empty() || events.back().arguments.empty()) events.push_back({calls_.size() - 1, {}, {}});
  events.back().arguments += c;
  if (in_string_) {
    in_string_ = !ends_string(c);
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if ((c == '}' || c == ']') && --depth_ == 0) {
    return Json::accept(arguments) ? State::kTail : State::kWrong;
  }
  return State::kArguments;
}

}  // namespace lathe::serve
