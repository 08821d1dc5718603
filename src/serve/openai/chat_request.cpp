#include "serve/openai/chat_request.h"

#include <algorithm>

#include "base/json.h"
#include "serve/openai/beam_fields.h"

namespace lathe::serve {
namespace {

constexpr std::size_t kMostMessages = 4096, kMostTools = 128, kLongestName = 64;

// A message's content: a string, or parts of type text put together.
std::string read_content(const Json& content, const std::string& path) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array())
    throw ApiError(400, fmt::format("'{}' must be a string or a list of parts, not {}", path, json_kind(content)), path,
                   "invalid_type");
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    Fields part(content[i], fmt::format("{}[{}]", path, i));
    const std::string type = part.required_text("type");
    if (type != "text" && type != "input_text" && type != "output_text")
      throw ApiError(400, fmt::format("'{}' is a part of type '{}'; only text is supported", part.name("type"), type),
                     part.name("type"), "unsupported_content");
    text += part.required_text("text");
  }
  return text;
}

std::string read_tool_calls(const Json& list, const std::string& path) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    Fields call(list[i], fmt::format("{}[{}]", path, i));
    const Json* function = call.object("function");
    if (function == nullptr)
      throw ApiError(400, fmt::format("'{}' is missing", call.name("function")), call.name("function"),
                     "missing_required_parameter");
    Fields inner(*function, call.name("function"));
    inner.required_text("name");
    inner.text("arguments");
  }
  return list.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void read_tools(const Json& list, ChatRequest& request) {
  if (list.size() > kMostTools) throw ApiError(400, "'tools' may have 128 entries at most", "tools", "invalid_value");
  for (std::size_t i = 0; i < list.size(); ++i) {
    Fields tool(list[i], fmt::format("tools[{}]", i));
    if (const std::string type = tool.required_text("type"); type != "function")
      throw ApiError(400, fmt::format("tools of type '{}' are not supported", type), tool.name("type"),
                     "unsupported_tool");
    const Json* function = tool.object("function");
    if (function == nullptr)
      throw ApiError(400, fmt::format("'{}' is missing", tool.name("function")), tool.name("function"),
                     "missing_required_parameter");
    Fields fields(*function, tool.name("function"));
    Tool one;
    one.name = fields.required_text("name");
    const bool plain = !one.name.empty() && one.name.size() <= kLongestName &&
                       std::all_of(one.name.begin(), one.name.end(), [](char c) {
                         return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                c == '_' || c == '-' || c == '.';
                       });
    if (!plain)
      throw ApiError(400, fmt::format("'{}' must be 1 to 64 letters, digits, '_', '-' or '.'", fields.name("name")),
                     fields.name("name"), "invalid_value");
    if (std::any_of(request.tools.begin(), request.tools.end(), [&](const Tool& t) { return t.name == one.name; }))
      throw ApiError(400, fmt::format("two tools are called '{}'", one.name), "tools", "invalid_value");
    fields.text("description");
    fields.boolean("strict");
    if (const Json* parameters = fields.object("parameters")) one.parameters = *parameters;
    fields.finish();
    tool.finish();
    request.tools.push_back(std::move(one));
  }
  request.tools_json = list;
}

void read_tool_choice(const Json& choice, ChatRequest& request) {
  const auto wrong = [] {
    return ApiError(400, "'tool_choice' must be none, auto, required, or name one of the tools", "tool_choice",
                    "invalid_value");
  };
  if (choice.is_string()) {
    const auto& word = choice.get_ref<const std::string&>();
    if (word != "none" && word != "auto" && word != "required") throw wrong();
    request.tool_choice = word == "none"   ? ToolChoice::kNone
                          : word == "auto" ? ToolChoice::kAuto
                                           : ToolChoice::kRequired;
    return;
  }
  if (!choice.is_object() || !choice.contains("function") || !choice["function"].is_object()) throw wrong();
  const Json& name = choice["function"].value("name", Json());
  std::erase_if(request.tools, [&](const Tool& tool) { return !name.is_string() || name != tool.name; });
  if (request.tools.empty()) throw wrong();
  request.tool_choice = ToolChoice::kRequired;
}

}  // namespace

std::vector<text::ChatMessage> read_messages(const Json& list, const std::string& path) {
  if (list.empty()) throw ApiError(400, fmt::format("'{}' is empty", path), path, "invalid_value");
  if (list.size() > kMostMessages)
    throw ApiError(400, fmt::format("'{}' may have 4096 entries at most", path), path, "invalid_value");
  std::vector<text::ChatMessage> messages;
  for (std::size_t i = 0; i < list.size(); ++i) {
    Fields fields(list[i], fmt::format("{}[{}]", path, i));
    text::ChatMessage message;
    message.role = fields.required_text("role");
    if (message.role == "developer") message.role = "system";
    static constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool"};
    if (std::find(std::begin(kRoles), std::end(kRoles), message.role) == std::end(kRoles))
      throw ApiError(400, fmt::format("'{}' must be system, developer, user, assistant or tool", fields.name("role")),
                     fields.name("role"), "invalid_value");
    if (const Json* content = fields.any("content")) message.content = read_content(*content, fields.name("content"));
    if (const Json* calls = fields.array("tool_calls"))
      message.tool_calls = read_tool_calls(*calls, fields.name("tool_calls"));
    message.name = fields.text("name");
    message.tool_call_id = fields.text("tool_call_id");
    message.reasoning_content = fields.text("reasoning_content");
    fields.ignore({"refusal", "annotations", "audio", "function_call", "type", "id", "status"});
    fields.finish();
    messages.push_back(std::move(message));
  }
  return messages;
}

std::string read_response_format(const Json& format, const std::string& path) {
  Fields fields(format, path);
  const std::string type = fields.required_text("type");
  if (type == "text") return {};
  if (type == "json_object") return R"({"type":"object"})";
  if (type != "json_schema")
    throw ApiError(400, fmt::format("'{}' must be text, json_object or json_schema", fields.name("type")),
                   fields.name("type"), "invalid_value");
  const Json* nested = fields.object("json_schema");
  Fields inner(nested != nullptr ? *nested : format, nested != nullptr ? fields.name("json_schema") : path);
  const Json* schema = inner.object("schema");
  if (schema == nullptr)
    throw ApiError(400, fmt::format("'{}' is missing", inner.name("schema")), inner.name("schema"),
                   "missing_required_parameter");
  return schema->dump(-1, ' ', false, Json::error_handler_t::replace);
}

ChatRequest read_chat_request(const Json& body, const Lease& lease) {
  Fields fields(body);
  ChatRequest request;
  request.common = read_common_fields(fields, lease);
  fields.text("model");
  const Json* messages = fields.array("messages");
  if (messages == nullptr) throw ApiError(400, "'messages' is missing", "messages", "missing_required_parameter");
  request.messages = read_messages(*messages, "messages");

  const auto length = fields.integer("max_tokens", 1, kMostTokens);
  const auto completion = fields.integer("max_completion_tokens", 1, kMostTokens);
  if (completion || length) request.max_tokens = static_cast<std::uint32_t>(completion ? *completion : *length);
  request.choices = static_cast<std::uint32_t>(fields.integer("n", 1, kMostChoices).value_or(1));
  request.logprobs = fields.boolean("logprobs").value_or(false);
  request.top_logprobs = static_cast<std::size_t>(fields.integer("top_logprobs", 0, kMostLogprobs).value_or(0));
  if (request.top_logprobs > 0 && !request.logprobs)
    throw ApiError(400, "'top_logprobs' needs 'logprobs'", "top_logprobs", "invalid_value");

  if (const Json* tools = fields.array("tools"); tools != nullptr && !tools->empty()) {
    read_tools(*tools, request);
    request.tool_choice = ToolChoice::kAuto;
  }
  if (const Json* choice = fields.any("tool_choice")) {
    if (request.tools.empty() && *choice != "none" && *choice != "auto")
      throw ApiError(400, "'tool_choice' needs 'tools'", "tool_choice", "invalid_value");
    if (!request.tools.empty()) read_tool_choice(*choice, request);
  }
  request.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
  if (const Json* format = fields.object("response_format"))
    request.json_schema = read_response_format(*format, "response_format");
  const int forms = (request.json_schema.empty() ? 0 : 1) + (request.common.request.grammar.empty() ? 0 : 1) +
                    (request.tool_choice != ToolChoice::kNone ? 1 : 0);
  if (forms > 1)
    throw ApiError(400, "only one of 'response_format', 'grammar' and 'tools' can shape an answer", "response_format",
                   "invalid_value");

  Json extra = Json::object();
  if (const Json* given = fields.object("chat_template_kwargs")) extra = *given;
  if (const auto effort = fields.text("reasoning_effort")) extra["reasoning_effort"] = *effort;
  if (!extra.empty()) request.template_json = extra.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const char* absent : {"audio", "functions", "function_call", "prediction", "web_search_options"}) {
    if (fields.any(absent) != nullptr)
      throw ApiError(400, fmt::format("'{}' is not supported", absent), absent, "unsupported_parameter");
  }
  if (const Json* modalities = fields.array("modalities"); modalities != nullptr && *modalities != Json{"text"})
    throw ApiError(400, "the only modality is text", "modalities", "unsupported_parameter");
  refuse_beams(fields);
  fields.ignore({"verbosity"});
  fields.finish();
  return request;
}

const ToolFormat& tool_format(const Lease& lease) {
  const ToolFormat* own = lease.model->chat.tools;
  return own != nullptr ? *own : fallback_tool_format();
}

ChatPrompt render_chat(const ChatRequest& request, const Lease& lease) {
  const ChatFormat& format = lease.model->chat;
  text::ChatTemplateOptions options;
  options.bos_token = format.bos;
  options.eos_token = format.eos;
  options.extra_json = request.template_json;
  std::vector<text::ChatMessage> messages = request.messages;
  if (request.tool_choice != ToolChoice::kNone) {
    if (format.tools != nullptr) {
      options.tools_json = request.tools_json.dump(-1, ' ', false, Json::error_handler_t::replace);
    } else {
      if (messages.front().role != "system") messages.insert(messages.begin(), {.role = "system", .content = {}});
      std::string& system = messages.front().content;
      system += (system.empty() ? "" : "\n\n") + tool_instructions(request.tools_json);
    }
  }
  std::string text;
  try {
    text = format.chat.render(messages, options);
  } catch (const Error& refused) {
    throw ApiError(400, refused.what(), "messages", "template_refused");
  }
  if (request.tool_choice == ToolChoice::kRequired) {
    const ToolFormat& tools = tool_format(lease);
    if (!tools.trigger_in_call) text += tools.trigger;
  }
  ChatPrompt prompt;
  const std::size_t end = text.find_last_not_of(" \t\r\n");
  prompt.in_reasoning = format.reasoning.any() && end != std::string::npos &&
                        std::string_view(text).substr(0, end + 1).ends_with(format.reasoning.open);
  prompt.ids = encode_prompt(lease, text, format.bos.empty() || !text.starts_with(format.bos));
  return prompt;
}

}  // namespace lathe::serve
