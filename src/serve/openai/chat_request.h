// A chat completion's request, read and checked: the conversation, its tools, the form its answer must have.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/openai/sampling_fields.h"
#include "serve/tool_format.h"
#include "text/chat_template.h"

namespace lathe::serve {

enum class ToolChoice { kNone, kAuto, kRequired };

struct ChatRequest {
  CommonFields common;
  std::vector<text::ChatMessage> messages;
  Json tools_json = Json::array();  // as given; what the template sees
  std::vector<Tool> tools;          // that may be called: none, all, or the one that must be
  ToolChoice tool_choice = ToolChoice::kNone;
  bool parallel_tool_calls = true;
  std::string json_schema;    // of the answer; empty: any text
  std::string template_json;  // further variables of the template; empty: none
  std::uint32_t choices = 1;
  std::optional<std::uint32_t> max_tokens;  // none: what the context holds
  bool logprobs = false;
  std::size_t top_logprobs = 0;
};

// Throws ApiError naming the field.
ChatRequest read_chat_request(const Json& body, const Lease& lease);

// "system", "user", ... messages of a list; `path` names it in errors.
std::vector<text::ChatMessage> read_messages(const Json& list, const std::string& path);
// {"type": "text" | "json_object" | "json_schema", ...}: the schema, or nothing. Responses keep the schema's fields
// beside the type, chat completions in "json_schema".
std::string read_response_format(const Json& format, const std::string& path);

// The conversation as the model reads it.
struct ChatPrompt {
  std::vector<text::TokenId> ids;
  bool in_reasoning = false;  // it ends with an opened thought
};
ChatPrompt render_chat(const ChatRequest& request, const Lease& lease);

// The format of the model's tool calls.
const ToolFormat& tool_format(const Lease& lease);

}  // namespace lathe::serve
