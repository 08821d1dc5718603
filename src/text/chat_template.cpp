#include "text/chat_template.h"

#include "base/json.h"
#include "text/jinja/ast.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/parser.h"
#include "text/jinja/printing.h"

namespace lathe::text {
namespace {

using jinja::Heap;
using jinja::Kind;
using jinja::Value;

constexpr std::string_view kChatMl =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// A tool call with its arguments in the wanted form; what is neither an object nor the text of one stays as it is.
void convert_arguments(Heap& heap, const Value& call, ToolArguments form) {
  if (!call.is_dict()) return;
  const Value* nested = call.dict().find(std::string_view("function"));
  const Value holder = nested != nullptr && nested->is_dict() ? *nested : call;
  const Value* found = holder.dict().find(std::string_view("arguments"));
  if (found == nullptr) return;
  const Value arguments = *found;
  if (form == ToolArguments::kText && arguments.is_dict()) {
    jinja::TextBuilder out(heap);
    jinja::print_json(out, arguments, {});
    holder.dict().set("arguments", Value::string(heap, out.take()));
  } else if (form == ToolArguments::kObject && arguments.is_string()) {
    try {
      const Value parsed = jinja::parse_json_value(heap, arguments.text(), "tool call arguments");
      if (parsed.is_dict()) holder.dict().set("arguments", parsed);
    } catch (const Error&) {
      // A model may well have written arguments that are no JSON: the template gets its words.
    }
  }
}

Value message_value(Heap& heap, const ChatMessage& message, ToolArguments form) {
  Value result = Value::dict(heap);
  const auto set = [&](std::string_view key, const std::string& text) {
    result.dict().set(key, Value::string(heap, text));
  };
  set("role", message.role);
  if (message.content_parts.empty()) {
    set("content", message.content);
  } else {
    const Value parts = jinja::parse_json_value(heap, message.content_parts, "message content");
    if (!parts.is_list()) fail("message content", "expected a JSON list of parts");
    result.dict().set("content", parts);
  }
  if (message.name) set("name", *message.name);
  if (message.reasoning_content) set("reasoning_content", *message.reasoning_content);
  if (message.tool_call_id) set("tool_call_id", *message.tool_call_id);
  if (!message.tool_calls.empty()) {
    const Value calls = jinja::parse_json_value(heap, message.tool_calls, "tool calls");
    if (!calls.is_list()) fail("tool calls", "expected a JSON list of calls");
    for (const Value& call : calls.items().items) convert_arguments(heap, call, form);
    result.dict().set("tool_calls", calls);
  }
  return result;
}

Value context_value(Heap& heap, const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options,
                    ToolArguments form) {
  Value context = Value::dict(heap);
  Value list = Value::list(heap, {});
  for (const ChatMessage& message : messages) list.items().push(message_value(heap, message, form));
  Value tools = Value::none();
  if (!options.tools_json.empty()) {
    tools = jinja::parse_json_value(heap, options.tools_json, "tools");
    if (!tools.is_list() && !tools.is(Kind::kNone)) fail("tools", "expected a JSON list of tools");
  }
  context.dict().set("messages", list);
  context.dict().set("tools", tools);
  context.dict().set("documents", Value::none());
  context.dict().set("add_generation_prompt", Value::boolean(options.add_generation_prompt));
  context.dict().set("bos_token", Value::string(heap, options.bos_token));
  context.dict().set("eos_token", Value::string(heap, options.eos_token));
  if (!options.extra_json.empty()) {
    const Value extra = jinja::parse_json_value(heap, options.extra_json, "template variables");
    if (!extra.is_dict()) fail("template variables", "expected a JSON object");
    for (const auto& [key, value] : extra.dict().entries()) context.dict().set(key, value);
  }
  return context;
}

// Renders with the variables that `make_context` builds on the rendering's heap.
template <class F>
std::string render_with(const jinja::Template& program, std::optional<std::tm> now, F make_context) {
  Heap heap{jinja::Limits{}};
  Value context;
  try {
    context = make_context(heap);
  } catch (const jinja::EvalError& error) {
    fail(program.name, "the conversation: {}", error.message);
  }
  return jinja::Interpreter(program, heap, now).run(context);
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view source, std::string name) {
  ChatTemplate result(std::make_shared<const jinja::Template>(jinja::parse_template(source, std::move(name))));
  result.tool_arguments_ = result.probe_tool_arguments();
  return result;
}

const ChatTemplate& ChatTemplate::chatml() {
  static const ChatTemplate chat_ml = parse(kChatMl, "ChatML");
  return chat_ml;
}

// Templates do not say which form they want, so a small conversation tells: the form is right if the call's argument
// shows up as JSON that is not quoted once more. Objects win when both do.
ToolArguments ChatTemplate::probe_tool_arguments() const {
  if (source().find("tool_call") == std::string::npos) return ToolArguments::kObject;
  ChatMessage call{.role = "assistant", .content = ""};
  call.tool_calls =
      R"([{"id": "probe0001", "type": "function", "function": {"name": "probe", "arguments": {"probe_key": "probe_value"}}}])";
  const std::vector<ChatMessage> messages{{.role = "user", .content = "probe"}, call};
  const auto shows = [&](ToolArguments form) {
    try {
      const std::string text = render_as(messages, {}, form);
      return text.find("probe_value") != std::string::npos && text.find("\\\"probe_key") == std::string::npos &&
             text.find("'probe_key'") == std::string::npos;
    } catch (const Error&) {
      return false;
    }
  };
  return !shows(ToolArguments::kObject) && shows(ToolArguments::kText) ? ToolArguments::kText : ToolArguments::kObject;
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options) const {
  return render_as(messages, options, options.tool_arguments.value_or(tool_arguments_));
}

std::string ChatTemplate::render_as(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options,
                                    ToolArguments form) const {
  return render_with(*program_, options.now, [&](Heap& heap) { return context_value(heap, messages, options, form); });
}

std::string ChatTemplate::render_json(std::string_view context_json, std::optional<std::tm> now) const {
  return render_with(*program_, now, [&](Heap& heap) {
    Value context = jinja::parse_json_value(heap, context_json, "template context");
    if (!context.is_dict()) fail("template context", "expected a JSON object");
    return context;
  });
}

const std::string& ChatTemplate::name() const { return program_->name; }
const std::string& ChatTemplate::source() const { return program_->source; }

std::string choose_chat_template(std::string_view chat_template_json, bool with_tools, std::string_view where) {
  const Json value = parse_json(chat_template_json, where);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array() || value.empty()) fail(where, "chat_template is neither a text nor a list of named templates");
  const auto named = [&](std::string_view name) -> const Json* {
    for (const Json& entry : value) {
      if (json_get<std::string>(entry, "name", where) == name) return &entry;
    }
    return nullptr;
  };
  const Json* chosen = with_tools ? named("tool_use") : nullptr;
  if (chosen == nullptr) chosen = named("default");
  if (chosen == nullptr && value.size() == 1) chosen = &value.front();
  if (chosen == nullptr) fail(where, "chat_template has several templates, but none is named \"default\"");
  return json_get<std::string>(*chosen, "template", where);
}

}  // namespace lathe::text
