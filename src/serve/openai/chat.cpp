// POST /v1/chat/completions.
#include <algorithm>
#include <memory>
#include <optional>

#include "base/json.h"
#include "serve/generation.h"
#include "serve/openai/chat_request.h"
#include "serve/reasoning.h"
#include "serve/tool_call_reader.h"

namespace lathe::serve {
namespace {

// What is told of an answer, and by whom it is held back: thoughts first, then calls of tools.
struct ChoiceText {
  ReasoningSplitter splitter;
  std::string reasoning, content;
  std::string held;                      // may become the trigger
  std::optional<ToolCallReader> reader;  // the rest is calls
  std::string call;                      // what it has read
  std::vector<api::GeneratedToken> tokens;
};

class ChatReply final : public Reply {
 public:
  ChatReply(std::shared_ptr<Exchange> exchange, const ChatRequest& request, const Lease& lease, bool in_reasoning,
            std::size_t prompt_tokens)
      : exchange_(std::move(exchange)),
        model_(lease.model),
        name_(lease.name),
        tools_(request.tools),
        format_(request.tool_choice == ToolChoice::kNone ? nullptr : &tool_format(lease)),
        stream_(request.common.stream),
        include_usage_(request.common.include_usage),
        logprobs_(request.logprobs),
        top_logprobs_(request.top_logprobs),
        prompt_tokens_(prompt_tokens) {
    const bool forced = request.tool_choice == ToolChoice::kRequired;
    for (std::uint32_t i = 0; i < request.choices; ++i) {
      choices_.push_back({ReasoningSplitter(forced ? ReasoningTags{} : lease.model->chat.reasoning, in_reasoning)});
      if (forced) choices_.back().reader.emplace(*format_, tools_);
    }
    answers_.resize(request.choices);
  }

  const std::string& id() const override { return id_; }

  void piece(std::size_t index, std::string_view text, std::span<const api::GeneratedToken> tokens) override {
    ChoiceText& choice = choices_[index];
    if (logprobs_) choice.tokens.insert(choice.tokens.end(), tokens.begin(), tokens.end());
    tell(index, choice.splitter.push(text));
  }

  void choice_done(std::size_t index, const api::GenerateResult& result) override {
    ChoiceText& choice = choices_[index];
    if (logprobs_) {  // tokens whose text was empty at the end
      choice.tokens.insert(choice.tokens.end(),
                           result.tokens.begin() + static_cast<std::ptrdiff_t>(told_tokens(choice)),
                           result.tokens.end());
    }
    tell(index, choice.splitter.flush());
    if (!choice.held.empty()) tell_content(index, std::exchange(choice.held, {}));
    std::string_view reason = finish_reason(result.stop_reason);
    const bool called = choice.reader && choice.reader->whole();
    if (called && reason == "stop") reason = "tool_calls";
    if (choice.reader && choice.reader->calls().empty())
      tell_content(index, (format_->trigger_in_call ? "" : std::string(format_->trigger)) + choice.call);
    completion_tokens_ += result.tokens.size();
    cached_tokens_ = std::max<std::size_t>(cached_tokens_, result.cached_prompt_tokens);
    if (stream_) return send_delta(index, Json::object(), reason);
    Json message = {{"role", "assistant"}, {"content", choice.content}, {"refusal", nullptr}};
    if (choice.reader && !choice.reader->calls().empty()) {
      for (const ToolCall& call : choice.reader->calls()) message["tool_calls"].push_back(call_json(call));
      if (choice.content.empty()) message["content"] = nullptr;
    }
    if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
    Json logprobs;
    if (logprobs_) logprobs = {{"content", logprobs_json(choice.tokens, top_logprobs_, tokenizer())}};
    answers_[index] = {{"index", index},
                       {"message", std::move(message)},
                       {"logprobs", std::move(logprobs)},
                       {"finish_reason", reason}};
  }

  void finished() override {
    if (!stream_) {
      Json body = head("chat.completion");
      body["choices"] = answers_;
      body["usage"] = usage();
      exchange_->respond({.body = body.dump(-1, ' ', false, Json::error_handler_t::replace)});
      return;
    }
    if (include_usage_) {
      Json chunk = head("chat.completion.chunk");
      chunk["choices"] = Json::array();
      chunk["usage"] = usage();
      send_event(*exchange_, chunk);
    }
    send_done(*exchange_);
    exchange_->finish();
  }

 private:
  const text::Tokenizer& tokenizer() const { return model_->any().tokenizer(); }
  std::size_t told_tokens(const ChoiceText& choice) const {
    return choice.tokens.size() + sent_tokens_[&choice - choices_.data()];
  }

  Json head(std::string_view object) const {
    return {{"id", id_}, {"object", object}, {"created", created_}, {"model", name_}, {"system_fingerprint", "lathe"}};
  }

  Json usage() const {
    return {{"prompt_tokens", prompt_tokens_},
            {"completion_tokens", completion_tokens_},
            {"total_tokens", prompt_tokens_ + completion_tokens_},
            {"prompt_tokens_details", {{"cached_tokens", cached_tokens_}}}};
  }

  void tell(std::size_t index, const ReasoningSplitter::Parts& parts) {
    ChoiceText& choice = choices_[index];
    if (!parts.reasoning.empty()) {
      choice.reasoning += parts.reasoning;
      if (stream_) send_delta(index, {{"reasoning_content", parts.reasoning}}, nullptr);
    }
    if (parts.content.empty()) return;
    if (choice.reader) {
      tell_call(index, parts.content);
    } else if (format_ == nullptr) {
      tell_content(index, parts.content);
    } else {
      choice.held += parts.content;
      const std::size_t at = choice.held.find(format_->trigger);
      if (at != std::string::npos) {
        choice.reader.emplace(*format_, tools_);
        const std::string call = choice.held.substr(at + (format_->trigger_in_call ? 0 : format_->trigger.size()));
        choice.held.resize(at);
        while (!choice.held.empty() && choice.held.back() == '\n') choice.held.pop_back();
        tell_content(index, std::exchange(choice.held, {}));
        tell_call(index, call);
      } else {
        const std::size_t keep = partial_match(choice.held, format_->trigger);
        tell_content(index, choice.held.substr(0, choice.held.size() - keep));
        choice.held.erase(0, choice.held.size() - keep);
      }
    }
  }

  static Json call_json(const ToolCall& call) {
    return {{"id", new_id("call_")},
            {"type", "function"},
            {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
  }

  // In a stream each call begins with its name; then come its arguments, in pieces.
  void tell_call(std::size_t index, const std::string& text) {
    choices_[index].call += text;
    for (const ToolCallEvent& event : choices_[index].reader->push(text)) {
      if (!stream_) continue;
      Json delta = {{"index", event.call}};
      if (event.name.empty()) {
        delta["function"] = {{"arguments", event.arguments}};
      } else {
        delta.update(call_json({event.name, {}}));
      }
      send_delta(index, {{"tool_calls", Json::array({std::move(delta)})}}, nullptr);
    }
  }

  void tell_content(std::size_t index, const std::string& text) {
    if (text.empty()) return;
    choices_[index].content += text;
    if (stream_) send_delta(index, {{"content", text}}, nullptr);
  }

  void send_delta(std::size_t index, Json delta, const Json& reason) {
    if (!exchange_->begun()) begin_events(*exchange_);
    if (!opened_[index]) {
      opened_[index] = true;
      send_chunk(index, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
    }
    Json logprobs;
    ChoiceText& choice = choices_[index];
    if (logprobs_ && !choice.tokens.empty()) {
      logprobs = {{"content", logprobs_json(choice.tokens, top_logprobs_, tokenizer())}};
      sent_tokens_[index] += choice.tokens.size();
      choice.tokens.clear();
    }
    send_chunk(index, std::move(delta), logprobs, reason);
  }

  void send_chunk(std::size_t index, Json delta, const Json& logprobs, const Json& reason) {
    Json chunk = head("chat.completion.chunk");
    chunk["choices"] = Json::array(
        {{{"index", index}, {"delta", std::move(delta)}, {"logprobs", logprobs}, {"finish_reason", reason}}});
    if (include_usage_) chunk["usage"] = nullptr;
    send_event(*exchange_, chunk);
  }

  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<LoadedModel> model_;
  std::string name_, id_ = new_id("chatcmpl-");
  std::int64_t created_ = unix_now();
  std::vector<Tool> tools_;
  const ToolFormat* format_;
  bool stream_, include_usage_, logprobs_;
  std::size_t top_logprobs_, prompt_tokens_, completion_tokens_ = 0, cached_tokens_ = 0;
  std::vector<ChoiceText> choices_;
  std::vector<Json> answers_;
  std::vector<bool> opened_ = std::vector<bool>(kMostChoices, false);
  std::vector<std::size_t> sent_tokens_ = std::vector<std::size_t>(kMostChoices, 0);
};

// The call the engine makes for one choice.
api::GenerateRequest engine_request(const ChatRequest& request, const Lease& lease, const ChatPrompt& prompt) {
  api::GenerateRequest call = request.common.request;
  call.prompt_ids = prompt.ids;
  call.max_tokens = request.max_tokens.value_or(lease.model->any().context());
  call.json_schema = request.json_schema;
  call.logprobs = request.logprobs ? static_cast<int>(std::max<std::size_t>(request.top_logprobs, 1)) : 0;
  const ChatFormat& format = lease.model->chat;
  call.stop.insert(call.stop.end(), format.stop.begin(), format.stop.end());
  if (request.tool_choice != ToolChoice::kNone) {
    const ToolFormat& tools = tool_format(lease);
    call.json_schema = tool_calls_schema(tools, request.tools);
    call.frame = tool_frame(tools, request.parallel_tool_calls);
    if (request.tool_choice == ToolChoice::kRequired) call.frame.trigger.clear();
    call.show_special = true;
  } else if (prompt.in_reasoning && (!call.json_schema.empty() || !call.grammar.empty())) {
    call.frame.trigger = format.reasoning.close;  // thoughts are free, the answer is not
  }
  return call;
}

}  // namespace

void chat_completions(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    GenerationStart start;
    start.lease = service.models().acquire(Fields(body).text("model").value_or(""));
    const ChatRequest request = read_chat_request(body, start.lease);
    const ChatPrompt prompt = render_chat(request, start.lease);
    const api::GenerateRequest call = engine_request(request, start.lease, prompt);
    for (std::uint32_t i = 0; i < request.choices; ++i) {
      start.requests.push_back(call);
      start.requests.back().sampling.seed += i;
    }
    start.tokens = request.logprobs;
    start.priority = request.common.priority;
    start.reply = std::make_unique<ChatReply>(exchange, request, start.lease, prompt.in_reasoning, prompt.ids.size());
    start_generation(service, exchange, std::move(start));
  });
}

}  // namespace lathe::serve
