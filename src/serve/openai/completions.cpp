// POST /v1/completions: text continued, without a chat template.
#include <algorithm>
#include <atomic>
#include <memory>

#include "base/json.h"
#include "serve/generation.h"
#include "serve/openai/beam_fields.h"
#include "serve/openai/sampling_fields.h"

namespace lathe::serve {
namespace {

constexpr std::size_t kMostPrompts = 256;

struct Prompt {
  std::vector<text::TokenId> ids;
  std::string text;  // for echo
};

std::vector<Prompt> read_prompts(Fields& fields, const Lease& lease) {
  const Json* value = fields.any("prompt");
  if (value == nullptr) throw ApiError(400, "'prompt' is missing", "prompt", "missing_required_parameter");
  const text::Tokenizer& tokenizer = lease.model->any().tokenizer();
  const auto from_text = [&](const Json& text) {
    return Prompt{encode_prompt(lease, text.get_ref<const std::string&>(), true), text.get<std::string>()};
  };
  const auto from_ids = [&](const Json& list) {
    Prompt prompt{token_list(list, "prompt", tokenizer.size()), {}};
    check_prompt(lease, prompt.ids);
    prompt.text = tokenizer.decode(prompt.ids, {.skip_special = true});
    return prompt;
  };
  const auto wrong = [] {
    return ApiError(400, "'prompt' must be a string, a list of strings, a list of token ids or a list of such lists",
                    "prompt", "invalid_type");
  };
  if (value->is_string()) return {from_text(*value)};
  if (!value->is_array() || value->empty()) throw wrong();
  if (value->front().is_number()) return {from_ids(*value)};
  if (value->size() > kMostPrompts)
    throw ApiError(400, "'prompt' may have 256 entries at most", "prompt", "invalid_value");
  std::vector<Prompt> prompts;
  for (const Json& one : *value) {
    if (!one.is_string() && !one.is_array()) throw wrong();
    prompts.push_back(one.is_string() ? from_text(one) : from_ids(one));
  }
  return prompts;
}

class CompletionReply final : public Reply {
 public:
  struct Settings {
    bool stream, include_usage, echo;
    std::size_t logprobs, prompt_tokens;
    bool with_logprobs;
  };
  CompletionReply(std::shared_ptr<Exchange> exchange, const Lease& lease, Settings settings,
                  std::vector<std::string> echoes)
      : exchange_(std::move(exchange)),
        model_(lease.model),
        name_(lease.name),
        settings_(settings),
        echoes_(std::move(echoes)),
        offsets_(echoes_.size(), 0),
        answers_(echoes_.size()) {}

  const std::string& id() const override { return id_; }

  void piece(std::size_t choice, std::string_view text, std::span<const api::GeneratedToken> tokens) override {
    if (settings_.stream) send(choice, std::string(text), tokens, nullptr);
  }

  void choice_done(std::size_t choice, const api::GenerateResult& result) override {
    completion_tokens_ += result.tokens.size();
    if (settings_.stream) return send(choice, "", {}, finish_reason(result.stop_reason));
    answers_[choice] = {{"index", choice},
                        {"text", echoes_[choice] + result.text},
                        {"logprobs", logprobs(choice, result.tokens)},
                        {"finish_reason", finish_reason(result.stop_reason)}};
  }

  // Of a text that a search found, told already.
  void scored(std::size_t choice, double logprob, double score) {
    answers_[choice]["cumulative_logprob"] = logprob;
    answers_[choice]["score"] = score;
  }

  void finished() override {
    if (!settings_.stream) {
      std::erase_if(answers_, [](const Json& answer) { return answer.is_null(); });  // a search may find fewer
      Json body = head();
      body["choices"] = answers_;
      body["usage"] = usage();
      return exchange_->respond({.body = body.dump(-1, ' ', false, Json::error_handler_t::replace)});
    }
    if (settings_.include_usage) {
      Json chunk = head();
      chunk["choices"] = Json::array();
      chunk["usage"] = usage();
      send_event(*exchange_, chunk);
    }
    send_done(*exchange_);
    exchange_->finish();
  }

 private:
  Json head() const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", name_},
            {"system_fingerprint", "lathe"}};
  }
  Json usage() const {
    return {{"prompt_tokens", settings_.prompt_tokens},
            {"completion_tokens", completion_tokens_},
            {"total_tokens", settings_.prompt_tokens + completion_tokens_}};
  }

  void send(std::size_t choice, std::string text, std::span<const api::GeneratedToken> tokens, const Json& reason) {
    if (!exchange_->begun()) begin_events(*exchange_);
    text = std::exchange(echoes_[choice], {}) + text;
    Json chunk = head();
    chunk["choices"] = Json::array({{{"index", choice},
                                     {"text", std::move(text)},
                                     {"logprobs", logprobs(choice, tokens)},
                                     {"finish_reason", reason}}});
    if (settings_.include_usage) chunk["usage"] = nullptr;
    send_event(*exchange_, chunk);
  }

  // The older form: parallel lists.
  Json logprobs(std::size_t choice, std::span<const api::GeneratedToken> tokens) {
    if (!settings_.with_logprobs) return nullptr;
    const text::Tokenizer& tokenizer = model_->any().tokenizer();
    Json names = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
    for (const api::GeneratedToken& token : tokens) {
      const std::string bytes = tokenizer.token_bytes(token.id);
      names.push_back(bytes);
      values.push_back(std::max(token.logprob, -9999.0f));
      offsets.push_back(offsets_[choice]);
      offsets_[choice] += bytes.size();
      Json top = Json::object();
      for (std::size_t i = 0; i < std::min(settings_.logprobs, token.alternatives.size()); ++i)
        top[tokenizer.token_bytes(token.alternatives[i].id)] = std::max(token.alternatives[i].logprob, -9999.0f);
      tops.push_back(std::move(top));
    }
    return {{"tokens", std::move(names)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }

  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<LoadedModel> model_;
  std::string name_, id_ = new_id("cmpl-");
  std::int64_t created_ = unix_now();
  Settings settings_;
  std::vector<std::string> echoes_;
  std::vector<std::size_t> offsets_;
  std::vector<Json> answers_;
  std::size_t completion_tokens_ = 0;
};

constexpr unsigned kMostSearches = 2;  // each takes a worker thread to its end

// The calls of a prompt stand together, one for each text wanted; each prompt is searched once, on this thread, beside
// what the engine generates.
void search(Service& service, const std::shared_ptr<Exchange>& exchange, GenerationStart start,
            const engine::BeamOptions& beams, std::shared_ptr<CompletionReply> reply) {
  const auto leave = [](std::atomic<unsigned>* searches) { --*searches; };
  const std::unique_ptr<std::atomic<unsigned>, decltype(leave)> entered(&service.searches(), leave);
  if (++service.searches() > kMostSearches) {
    ApiError busy(429, fmt::format("{} beam searches run already", kMostSearches), "beams", "rate_limit_exceeded");
    busy.retry_after = 1;
    throw busy;
  }
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  exchange->post([exchange, gone] { exchange->on_gone([gone] { *gone = true; }); });
  std::vector<std::pair<std::size_t, engine::BeamResult>> found;  // which choice it is
  std::uint64_t prompt_tokens = 0;
  for (std::size_t i = 0; i < start.requests.size() && !*gone; i += beams.results) {
    const api::GenerateRequest& request = start.requests[i];
    prompt_tokens += request.prompt_ids.size();
    engine::Session& session = start.lease.model->route(request.adapters, request.kv_policy, request.prompt_ids);
    auto texts = session.beam_search(request, beams, [&](std::uint32_t) { return !*gone; });
    for (std::size_t k = 0; k < texts.size(); ++k) found.emplace_back(i + k, std::move(texts[k]));
  }
  exchange->post(
      [exchange, reply = std::move(reply), found = std::move(found), prompt_tokens, name = start.lease.name] {
        exchange->model = name;
        exchange->prompt_tokens = prompt_tokens;
        if (exchange->gone()) return;
        for (const auto& [choice, text] : found) {
          exchange->generated_tokens += text.result.tokens.size();
          reply->choice_done(choice, text.result);
          reply->scored(choice, text.logprob, text.score);
        }
        reply->finished();
      });
}

}  // namespace

void completions(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    Fields fields(body);
    GenerationStart start;
    start.lease = service.models().acquire(fields.text("model").value_or(""));
    const CommonFields common = read_common_fields(fields, start.lease);
    const std::vector<Prompt> prompts = read_prompts(fields, start.lease);
    const auto n = fields.integer("n", 1, kMostChoices).value_or(1);
    const auto beams = read_beams(fields, start.lease, n);
    if (!fields.text("suffix").value_or("").empty())
      throw ApiError(400, "'suffix' is not supported", "suffix", "unsupported_parameter");
    const auto logprobs = fields.integer("logprobs", 0, kMostLogprobs);
    api::GenerateRequest call = common.request;
    call.max_tokens = static_cast<std::uint32_t>(fields.integer("max_tokens", 0, kMostTokens).value_or(16));
    call.logprobs = logprobs ? static_cast<int>(std::max<std::int64_t>(*logprobs, 1)) : 0;
    if (const Json* schema = fields.object("json_schema"))
      call.json_schema = schema->dump(-1, ' ', false, Json::error_handler_t::replace);
    CompletionReply::Settings settings{common.stream,
                                       common.include_usage,
                                       fields.boolean("echo").value_or(false),
                                       static_cast<std::size_t>(logprobs.value_or(0)),
                                       0,
                                       logprobs.has_value()};
    fields.finish();
    if (prompts.size() * static_cast<std::size_t>(n) > kMostPrompts)
      throw ApiError(400, "prompts times 'n' may be 256 at most", "n", "invalid_value");
    std::vector<std::string> echoes;
    for (const Prompt& prompt : prompts) {
      settings.prompt_tokens += prompt.ids.size();
      for (std::int64_t i = 0; i < n; ++i) {
        start.requests.push_back(call);
        start.requests.back().prompt_ids = prompt.ids;
        start.requests.back().sampling.seed += static_cast<std::uint64_t>(i);
        echoes.push_back(settings.echo ? prompt.text : "");
      }
    }
    start.tokens = settings.with_logprobs;
    start.priority = common.priority;
    auto reply = std::make_unique<CompletionReply>(exchange, start.lease, settings, std::move(echoes));
    if (beams) return search(service, exchange, std::move(start), *beams, std::move(reply));
    start.reply = std::move(reply);
    start_generation(service, exchange, std::move(start));
  });
}

}  // namespace lathe::serve
