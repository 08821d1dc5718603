// POST /v1/responses: the text subset, through the same conversation as a chat completion.
#include <algorithm>
#include <memory>

#include "base/json.h"
#include "serve/generation.h"
#include "serve/openai/beam_fields.h"
#include "serve/openai/chat_request.h"
#include "serve/reasoning.h"

namespace lathe::serve {
namespace {

ChatRequest read_response_request(const Json& body, const Lease& lease) {
  Fields fields(body);
  ChatRequest request;
  request.common = read_common_fields(fields, lease);
  fields.text("model");
  const Json* input = fields.any("input");
  if (input == nullptr) throw ApiError(400, "'input' is missing", "input", "missing_required_parameter");
  if (input->is_string()) {
    request.messages = {{.role = "user", .content = input->get<std::string>()}};
  } else if (input->is_array()) {
    for (const Json& item : *input) {
      if (item.is_object() && item.value("type", Json("message")) != "message")
        throw ApiError(400, "only items of type 'message' are supported", "input", "unsupported_content");
    }
    request.messages = read_messages(*input, "input");
  } else {
    throw ApiError(400, "'input' must be a string or a list of messages", "input", "invalid_type");
  }
  if (const auto instructions = fields.text("instructions"))
    request.messages.insert(request.messages.begin(), {.role = "system", .content = *instructions});
  if (const auto most = fields.integer("max_output_tokens", 1, kMostTokens))
    request.max_tokens = static_cast<std::uint32_t>(*most);
  if (const Json* text = fields.object("text")) {
    Fields inner(*text, "text");
    if (const Json* format = inner.object("format")) request.json_schema = read_response_format(*format, "text.format");
    inner.ignore({"verbosity"});
    inner.finish();
  }
  if (const Json* tools = fields.array("tools"); tools != nullptr && !tools->empty())
    throw ApiError(400, "tools are supported by /v1/chat/completions only", "tools", "unsupported_parameter");
  for (const char* absent : {"previous_response_id", "conversation", "prompt"}) {
    if (fields.any(absent) != nullptr)
      throw ApiError(400, fmt::format("'{}' is not supported: nothing is stored here", absent), absent,
                     "unsupported_parameter");
  }
  if (fields.boolean("background").value_or(false))
    throw ApiError(400, "'background' is not supported", "background", "unsupported_parameter");
  if (const Json* reasoning = fields.object("reasoning")) {
    const Json effort = reasoning->value("effort", Json());
    if (effort.is_string()) request.template_json = Json{{"reasoning_effort", effort}}.dump();
  }
  refuse_beams(fields);
  fields.ignore({"tool_choice", "parallel_tool_calls", "truncation", "include", "max_tool_calls", "top_logprobs"});
  fields.finish();
  return request;
}

class ResponsesReply final : public Reply {
 public:
  ResponsesReply(std::shared_ptr<Exchange> exchange, const ChatRequest& request, const Lease& lease,
                 const ChatPrompt& prompt)
      : exchange_(std::move(exchange)),
        name_(lease.name),
        stream_(request.common.stream),
        prompt_tokens_(prompt.ids.size()),
        temperature_(request.common.request.sampling.temperature),
        top_p_(request.common.request.sampling.top_p),
        splitter_(lease.model->chat.reasoning, prompt.in_reasoning) {}

  const std::string& id() const override { return id_; }

  void piece(std::size_t, std::string_view text, std::span<const api::GeneratedToken>) override {
    tell(splitter_.push(text));
  }

  void choice_done(std::size_t, const api::GenerateResult& result) override {
    tell(splitter_.flush());
    tokens_ = result.tokens.size();
    cached_ = result.cached_prompt_tokens;
    cut_ = finish_reason(result.stop_reason) == "length";
  }

  void finished() override {
    const std::string status = cut_ ? "incomplete" : "completed";
    const Json body = response_json(status);
    if (!stream_) return exchange_->respond({.body = body.dump(-1, ' ', false, Json::error_handler_t::replace)});
    open();
    const Json part = body["output"][0]["content"][0];
    send("response.output_text.done",
         {{"item_id", item_id_}, {"output_index", 0}, {"content_index", 0}, {"text", text_}});
    send("response.content_part.done",
         {{"item_id", item_id_}, {"output_index", 0}, {"content_index", 0}, {"part", part}});
    send("response.output_item.done", {{"output_index", 0}, {"item", body["output"][0]}});
    send("response." + status, {{"response", body}});
    exchange_->finish();
  }

 private:
  void tell(const ReasoningSplitter::Parts& parts) {
    if (parts.content.empty()) return;
    text_ += parts.content;
    if (!stream_) return;
    open();
    send("response.output_text.delta",
         {{"item_id", item_id_}, {"output_index", 0}, {"content_index", 0}, {"delta", parts.content}});
  }

  void open() {
    if (exchange_->begun()) return;
    begin_events(*exchange_);
    Json body = response_json("in_progress");
    body["output"] = Json::array();
    send("response.created", {{"response", body}});
    send("response.in_progress", {{"response", body}});
    send("response.output_item.added", {{"output_index", 0},
                                        {"item",
                                         {{"id", item_id_},
                                          {"type", "message"},
                                          {"status", "in_progress"},
                                          {"role", "assistant"},
                                          {"content", Json::array()}}}});
    send("response.content_part.added",
         {{"item_id", item_id_},
          {"output_index", 0},
          {"content_index", 0},
          {"part", {{"type", "output_text"}, {"text", ""}, {"annotations", Json::array()}}}});
  }

  void send(const std::string& event, const Json& data) {
    Json whole = {{"type", event}, {"sequence_number", sequence_++}};
    whole.update(data);
    send_event(*exchange_, event, whole);
  }

  Json response_json(const std::string& status) const {
    Json message = {
        {"id", item_id_},
        {"type", "message"},
        {"status", status},
        {"role", "assistant"},
        {"content", Json::array({{{"type", "output_text"}, {"text", text_}, {"annotations", Json::array()}}})}};
    Json usage;
    if (status != "in_progress") {
      usage = {{"input_tokens", prompt_tokens_},
               {"input_tokens_details", {{"cached_tokens", cached_}}},
               {"output_tokens", tokens_},
               {"output_tokens_details", {{"reasoning_tokens", 0}}},
               {"total_tokens", prompt_tokens_ + tokens_}};
    }
    return {{"id", id_},
            {"object", "response"},
            {"created_at", created_},
            {"status", status},
            {"error", nullptr},
            {"incomplete_details", status == "incomplete" ? Json{{"reason", "max_output_tokens"}} : Json(nullptr)},
            {"model", name_},
            {"output", Json::array({std::move(message)})},
            {"parallel_tool_calls", false},
            {"temperature", temperature_},
            {"top_p", top_p_},
            {"tool_choice", "none"},
            {"tools", Json::array()},
            {"usage", std::move(usage)}};
  }

  std::shared_ptr<Exchange> exchange_;
  std::string name_, id_ = new_id("resp_"), item_id_ = new_id("msg_"), text_;
  std::int64_t created_ = unix_now();
  bool stream_, cut_ = false;
  std::size_t prompt_tokens_, tokens_ = 0, cached_ = 0, sequence_ = 0;
  float temperature_, top_p_;
  ReasoningSplitter splitter_;
};

}  // namespace

void responses(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    GenerationStart start;
    start.lease = service.models().acquire(Fields(body).text("model").value_or(""));
    const ChatRequest request = read_response_request(body, start.lease);
    const ChatPrompt prompt = render_chat(request, start.lease);
    api::GenerateRequest call = request.common.request;
    call.prompt_ids = prompt.ids;
    call.max_tokens = request.max_tokens.value_or(start.lease.model->any().context());
    call.json_schema = request.json_schema;
    const ChatFormat& format = start.lease.model->chat;
    call.stop.insert(call.stop.end(), format.stop.begin(), format.stop.end());
    if (prompt.in_reasoning && !call.json_schema.empty()) call.frame.trigger = format.reasoning.close;
    start.requests.push_back(std::move(call));
    start.priority = request.common.priority;
    start.reply = std::make_unique<ResponsesReply>(exchange, request, start.lease, prompt);
    start_generation(service, exchange, std::move(start));
  });
}

}  // namespace lathe::serve
