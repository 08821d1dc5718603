// How models write tool calls. The format is the one a model's own chat template speaks of; a model whose template
// knows no tools is told in its system message to use the first one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/generator.h"
#include "base/json.h"

namespace lathe::serve {

struct ToolFormat {
  std::string_view name;
  std::string_view marker;               // in a chat template that uses this format
  std::string_view trigger;              // text from which on a call has begun
  bool trigger_in_call;                  // it is the beginning of the call's JSON, not only before it
  std::string_view begin, between, end;  // around and between the JSON of calls, after the trigger
  std::string_view arguments_key;        // beside "name"
  bool several;                          // calls in one answer
};

// Null when the template speaks of no format known here.
const ToolFormat* tool_format_of(std::string_view chat_template);
const ToolFormat& fallback_tool_format();

struct Tool {
  std::string name;
  Json parameters;  // a JSON Schema; null: any object
};

// The constraint under which what follows the trigger is calls of these tools: of each the name, then its arguments, as
// its schema says.
api::GrammarFrame tool_frame(const ToolFormat& format, bool parallel);
std::string tool_calls_schema(const ToolFormat& format, const std::vector<Tool>& tools);

// For a template without tools: what the system message says about them.
std::string tool_instructions(const Json& tools);

}  // namespace lathe::serve
