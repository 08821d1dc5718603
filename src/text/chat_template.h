// Chat templates: a conversation to the text a model was trained to read. Models bring theirs as a Jinja program
// (tokenizer_config.json's "chat_template", GGUF's "tokenizer.chat_template"); docs/chat-templates.md says what is
// understood. The program comes from strangers: its time, memory and output are bounded.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/errors.h"  // TemplateRaised

namespace lathe::jinja {
struct Template;
}

namespace lathe::text {

struct ChatMessage {
  std::string role;                // "system", "user", "assistant", "tool", or what else the template knows
  std::string content;             // the text
  std::string content_parts = {};  // JSON: a list of parts ([{"type": "text", "text": ...}]), in place of `content`
  std::string tool_calls = {};     // JSON: OpenAI's list ([{"type": "function", "function": {"name", "arguments"}}])
  std::optional<std::string> name = {}, tool_call_id = {}, reasoning_content = {};
};

// How templates want a tool call's arguments: as an object (what transformers documents) or as JSON text (what the
// OpenAI API sends). Messages may have either; render() gives the template the form asked for here.
enum class ToolArguments { kObject, kText };

struct ChatTemplateOptions {
  bool add_generation_prompt = true;
  std::string bos_token = {}, eos_token = {};
  std::string tools_json = {};  // JSON: a list of tools; empty: none
  std::string extra_json = {};  // JSON: an object of further variables ({"enable_thinking": false})
  std::optional<ToolArguments> tool_arguments = {};  // absent: what the template was found to want when parsed
  std::optional<std::tm> now = {};                   // what strftime_now shows; absent: the local time
};

// Immutable: parse once, render any number of times, from several threads at once. Copies share the program.
class ChatTemplate {
 public:
  // `name` goes into errors: "name: line 3, column 5: unknown filter 'foo'". Throws Error when `source` is no template.
  static ChatTemplate parse(std::string_view source, std::string name = "chat template");
  // The ChatML template ("<|im_start|>user\n...<|im_end|>\n"), for models that bring none.
  static const ChatTemplate& chatml();

  // Throws TemplateRaised when the template refuses the conversation, Error when it fails or exceeds its bounds.
  std::string render(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options = {}) const;
  // Renders with exactly the variables of a JSON object ({"messages": [...], "add_generation_prompt": true, ...}).
  std::string render_json(std::string_view context_json, std::optional<std::tm> now = {}) const;

  const std::string& name() const;
  const std::string& source() const;
  ToolArguments tool_arguments() const { return tool_arguments_; }

 private:
  explicit ChatTemplate(std::shared_ptr<const jinja::Template> program) : program_(std::move(program)) {}
  std::string render_as(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options,
                        ToolArguments form) const;
  ToolArguments probe_tool_arguments() const;

  std::shared_ptr<const jinja::Template> program_;
  ToolArguments tool_arguments_ = ToolArguments::kObject;
};

// The template's source out of tokenizer_config.json's "chat_template" value, given as JSON: a string, or a list of
// {"name", "template"}, of which "tool_use" is taken when there are tools and "default" otherwise.
std::string choose_chat_template(std::string_view chat_template_json, bool with_tools, std::string_view where);

}  // namespace lathe::text
