// lathe chat: a conversation through the model's own chat template. Every turn renders the whole conversation; the
// prefix cache keeps what the model has already read.
#include <algorithm>
#include <cstdio>
#include <string>

#include "base/cancel.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/terminal.h"
#include "cli/adapter_args.h"
#include "cli/common.h"
#include "cli/line_editor.h"
#include "cli/prompt_cache.h"
#include "cli/sampling_args.h"
#include "cli/verbs.h"
#include "text/chat_template.h"

namespace lathe::cli {
namespace {

constexpr std::string_view kChatMlEnd = "<|im_end|>";
constexpr std::string_view kPrompt = "> ";
constexpr std::string_view kHelp =
    "/system TEXT   set the system message (alone: remove it)\n"
    "/clear         forget the conversation, keep the system message\n"
    "/save FILE     write the conversation as JSON\n"
    "/quit          leave (so does Ctrl-D, or Ctrl-C twice)\n"
    "Ctrl-C stops an answer. Alt-Enter begins a new line; Up and Down recall what was said.\n";

// A line of standard input without its end; false at the end of input and after Ctrl-C.
bool read_line(std::string& line) {
  line.clear();
  char buffer[4096];
  while (std::fgets(buffer, sizeof buffer, stdin) != nullptr) {
    line += buffer;
    if (line.back() != '\n') continue;
    line.pop_back();
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return true;
  }
  return !line.empty() && !interrupt_token().cancelled();
}

class Chat {
 public:
  Chat(const OpenModel& open, api::GenerateRequest request, std::string system, bool silent)
      : open_(open),
        request_(std::move(request)),
        template_(open.file.chat_template.empty() ? text::ChatTemplate::chatml()
                                                  : text::ChatTemplate::parse(open.file.chat_template, open.file.path)),
        interactive_(stdin_is_terminal()),
        edits_(!silent && terminal_is_editable()),
        silent_(silent) {
    const text::SpecialTokens& special = open.tokenizer().special();
    if (special.bos != text::kNoToken) bos_ = open.tokenizer().piece(special.bos);
    if (special.eos != text::kNoToken) eos_ = open.tokenizer().piece(special.eos);
    // A model that was never taught the default template does not end its turn with the template's token.
    if (open.file.chat_template.empty()) request_.stop.emplace_back(kChatMlEnd);
    set_system(std::move(system));
  }

  int run() {
    if (interactive_ && !silent_) log_info("/help lists the commands, Ctrl-D leaves");
    std::string line;
    while (listen(line)) {
      if (line.starts_with('/') && line.find('\n') == std::string::npos) {
        if (!command(line)) break;
      } else if (!line.empty() && !answer(line)) {
        return kExitInterrupted;
      }
    }
    return termination_requested() ? kExitInterrupted : kExitSuccess;
  }

  Json messages_json() const {
    Json messages = Json::array();
    for (const text::ChatMessage& message : messages_) {
      messages.push_back({{"role", message.role}, {"content", message.content}});
    }
    return {{"messages", std::move(messages)}};
  }

 private:
  bool has_system() const { return !messages_.empty() && messages_.front().role == "system"; }

  void set_system(std::string text) {
    if (has_system()) messages_.erase(messages_.begin());
    if (!text.empty()) messages_.insert(messages_.begin(), {.role = "system", .content = std::move(text)});
  }

  // What the user says next; false when the conversation is over.
  bool listen(std::string& line) {
    if (!edits_) {
      const bool prompts = interactive_ && !silent_ && stdout_is_terminal();
      if (prompts) print_text(kPrompt);
      if (read_line(line)) return true;
      if (prompts) print_text("\n");
      return false;
    }
    // A Ctrl-C that came when the answer had just ended.
    if (!termination_requested()) interrupt_token().reset();
    for (bool asked = false;;) {
      switch (editor_.read(kPrompt, line)) {
        case Typed::kText:
          return true;
        case Typed::kEnd:
        case Typed::kSignal:
          return false;
        case Typed::kInterrupt:  // drops what was typed; twice on an empty line leaves
          if (asked && line.empty()) return false;
          asked = line.empty();
          if (asked) log_info("Ctrl-C again leaves, as do Ctrl-D and /quit");
      }
    }
  }

  // False when the conversation is over.
  bool command(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/quit" || name == "/exit") return false;
    if (name == "/help") {
      std::fputs(std::string(kHelp).c_str(), stderr);
    } else if (name == "/clear") {
      messages_.resize(has_system() ? 1 : 0);
    } else if (name == "/system") {
      set_system(rest);
    } else if (name == "/save") {
      save(rest);
    } else {
      log_warning("unknown command '{}'; /help lists the commands", name);
    }
    return true;
  }

  void save(const std::string& path) {
    if (path.empty()) {
      log_warning("/save needs the name of a file");
      return;
    }
    try {
      write_file(path, messages_json().dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
    } catch (const Error& error) {
      if (!interactive_) throw;
      log_line(LogLevel::kError, error.what());
    }
  }

  // One turn. False when an interruption should end the program.
  bool answer(const std::string& question) {
    messages_.push_back({.role = "user", .content = question});
    try {
      request_.prompt = template_.render(messages_, {.bos_token = bos_, .eos_token = eos_});
      request_.add_special = bos_.empty() || !request_.prompt.starts_with(bos_);
      const api::GenerateResult result = open_.session->generate(request_, [this](std::string_view piece) {
        if (!silent_) print_text(piece);
        return true;
      });
      if (!silent_) print_text(edits_ ? "\n\n" : "\n");
      const bool stopped = result.stop_reason == api::StopReason::kCancelled;
      if (stopped && result.text.empty()) {
        messages_.pop_back();  // stopped before the first word: as if it had not been asked
      } else {
        messages_.push_back({.role = "assistant", .content = result.text});
      }
      log_debug("{} prompt tokens ({} cached), {} generated at {:.1f}/s, ended by {}", result.prompt_ids.size(),
                result.cached_prompt_tokens, result.tokens.size(), decode_rate(result),
                api::stop_reason_name(result.stop_reason));
      if (result.stop_reason == api::StopReason::kContextFull) log_warning("the context is full; /clear starts over");
      if (!stopped) return true;
      if (!interactive_ || termination_requested()) return false;
      interrupt_token().reset();
      return true;
    } catch (const Error& error) {
      messages_.pop_back();
      if (!interactive_) throw;
      log_line(LogLevel::kError, error.what());
      return true;
    }
  }

  const OpenModel& open_;
  api::GenerateRequest request_;
  text::ChatTemplate template_;
  std::string bos_, eos_;
  std::vector<text::ChatMessage> messages_;
  // The user sits at a terminal; it can do line editing; nothing but the final JSON may be written.
  bool interactive_, edits_, silent_;
  LineEditor editor_;
};

}  // namespace

int chat_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  SamplingArgs sampling;
  AdapterArgs adapters;
  DraftArgs draft;
  std::string system;
  std::optional<std::string> prompt_cache;
  api::GenerateRequest request;
  request.max_tokens = 512;
  Options options("chat", "[MODEL] [options]",
                  "Talks with a model through its chat template (ChatML when it has none). Lines of standard input are "
                  "what you say; /help lists the commands, Ctrl-C stops an answer.");
  add_model_options(options, model, false);
  options.value("--system", system, "TEXT", "the system message");
  options.value("-n,--tokens", request.max_tokens, "N", "tokens of an answer at most");
  add_sampling_options(options, sampling);
  add_adapter_option(options, adapters);
  add_draft_options(options, draft);
  add_prompt_cache_option(options, prompt_cache);
  add_device_options(options, device, "tokens of context; 0: what the model was trained for");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  validate(sampling);
  validate(draft);

  const OpenModel open = open_model(model, device, output, one_sequence, draft);
  apply(sampling, open.file.generation, request);
  request.adapters = open_adapters(adapters, open);
  Chat chat(open, std::move(request), std::move(system), output.json);
  load_prompt_cache(prompt_cache, open);
  const int status = chat.run();
  save_prompt_cache(prompt_cache, open);
  if (output.json) print_json(chat.messages_json());
  return status;
}

}  // namespace lathe::cli
