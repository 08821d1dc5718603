#include "serve/tool_format.h"

#include "base/json.h"

namespace lathe::serve {
namespace {

constexpr ToolFormat kFormats[] = {
    {"hermes", "<tool_call>", "<tool_call>", false, "\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>",
     "arguments", true},
    {"mistral", "[TOOL_CALLS]", "[TOOL_CALLS]", false, "[", ", ", "]", "arguments", true},
    {"llama3", "\"parameters\": ", "{\"name\"", true, "", "", "", "parameters", false},
};

// References of a schema that becomes part of a larger one, at `place` there.
void move_references(Json& schema, const std::string& place) {
  if (schema.is_object()) {
    for (auto& [key, value] : schema.items()) {
      if (key == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with('#')) {
        value = "#" + place + value.get_ref<const std::string&>().substr(1);
      } else if (key != "const" && key != "enum") {
        move_references(value, place);
      }
    }
  } else if (schema.is_array()) {
    for (Json& value : schema) move_references(value, place);
  }
}

}  // namespace

const ToolFormat* tool_format_of(std::string_view chat_template) {
  if (chat_template.find("tools") == std::string_view::npos) return nullptr;
  for (const ToolFormat& format : kFormats) {
    if (chat_template.find(format.marker) != std::string_view::npos) return &format;
  }
  return nullptr;
}

const ToolFormat& fallback_tool_format() { return kFormats[0]; }

api::GrammarFrame tool_frame(const ToolFormat& format, bool parallel) {
  api::GrammarFrame frame;
  frame.trigger = format.trigger;
  frame.trigger_counts = format.trigger_in_call;
  frame.begin = format.begin;
  frame.between = format.between;
  frame.end = format.end;
  frame.repeats = parallel && format.several;
  frame.stops = false;  // arguments that end anywhere are of no use to anybody
  return frame;
}

std::string tool_calls_schema(const ToolFormat& format, const std::vector<Tool>& tools) {
  Json choices = Json::array();
  for (const Tool& tool : tools) {
    const std::string key(format.arguments_key);
    Json parameters = tool.parameters.is_null() ? Json{{"type", "object"}} : tool.parameters;
    move_references(parameters, fmt::format("/anyOf/{}/properties/{}", choices.size(), key));
    choices.push_back({{"type", "object"},
                       {"properties", {{"name", {{"const", tool.name}}}, {key, std::move(parameters)}}},
                       {"required", {"name", key}},
                       {"additionalProperties", false}});
  }
  return Json{{"anyOf", std::move(choices)}}.dump();
}

std::string tool_instructions(const Json& tools) {
  std::string text =
      "You may call functions. To call one, answer with nothing but\n<tool_call>\n{\"name\": NAME, \"arguments\": "
      "OBJECT}\n</tool_call>\nThe functions, with JSON Schemas of their arguments:\n";
  for (const Json& tool : tools) text += tool.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return text;
}

}  // namespace lathe::serve
