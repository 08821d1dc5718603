#include "serve/openai/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>

#include "base/json.h"
#include "serve/openai/adapters_field.h"
#include "serve/openai/kv_policy_field.h"

namespace lathe::serve {
namespace {

constexpr std::size_t kMostStops = 16, kMostBiases = 1024, kLongestStop = 1024;

std::vector<std::string> read_stops(Fields& fields) {
  const Json* value = fields.any("stop");
  if (value == nullptr) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<std::string> stops;
  for (const Json& stop : list) {
    if (!stop.is_string()) throw ApiError(400, "'stop' must be a string or a list of strings", "stop", "invalid_type");
    if (stop.get_ref<const std::string&>().empty() || stop.get_ref<const std::string&>().size() > kLongestStop)
      throw ApiError(400, "each of 'stop' must have 1 to 1024 bytes", "stop", "invalid_value");
    stops.push_back(stop.get<std::string>());
  }
  if (stops.size() > kMostStops) throw ApiError(400, "'stop' may have 16 entries at most", "stop", "invalid_value");
  return stops;
}

std::vector<std::pair<text::TokenId, float>> read_bias(Fields& fields, std::size_t vocab) {
  const Json* object = fields.object("logit_bias");
  if (object == nullptr) return {};
  if (object->size() > kMostBiases)
    throw ApiError(400, "'logit_bias' may have 1024 entries at most", "logit_bias", "invalid_value");
  std::vector<std::pair<text::TokenId, float>> bias;
  for (const auto& [key, value] : object->items()) {
    text::TokenId id = -1;
    const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (status != std::errc{} || end != key.data() + key.size() || id < 0 || static_cast<std::size_t>(id) >= vocab)
      throw ApiError(400, fmt::format("'logit_bias' names '{}', which is no token id", key), "logit_bias",
                     "invalid_value");
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100))
      throw ApiError(400, "a value of 'logit_bias' must lie between -100 and 100", "logit_bias", "invalid_value");
    bias.emplace_back(id, value.get<float>());
  }
  return bias;
}

// What is given, else what the model's files suggest (negative: nothing), else `otherwise`.
float chosen(std::optional<double> given, float suggestion, float otherwise) {
  return given ? static_cast<float>(*given) : suggestion >= 0 ? suggestion : otherwise;
}

[[noreturn]] void refuse_idle(const Fields& fields, const char* key, std::string_view why) {
  throw ApiError(400, fmt::format("'{}' decides nothing {}", fields.name(key), why), fields.name(key), "invalid_value");
}
[[noreturn]] void refuse_both(const Fields& fields, const char* key, const char* other) {
  throw ApiError(400, fmt::format("'{}' and '{}' exclude each other", fields.name(key), fields.name(other)),
                 fields.name(key), "invalid_value");
}

// The repeat penalty and how far back it looks, under the names of llama.cpp (repeat_penalty, repeat_last_n, where -1
// is everything) and vLLM (repetition_penalty, which looks at everything).
void read_repeats(Fields& fields, float suggested, api::SamplingParams& sampling) {
  constexpr int kEverything = std::numeric_limits<int>::max();
  const auto penalty = fields.number("repeat_penalty", 0.01, 100),
             whole = fields.number("repetition_penalty", 0.01, 100);
  if (penalty && whole) refuse_both(fields, "repetition_penalty", "repeat_penalty");
  sampling.repeat_penalty = chosen(whole ? whole : penalty, suggested, 1);
  const auto window = fields.integer("repeat_window", 0, kMostTokens),
             last = fields.integer("repeat_last_n", -1, kMostTokens);
  if (window && last) refuse_both(fields, "repeat_last_n", "repeat_window");
  if (whole) sampling.repeat_window = kEverything;
  if (last) sampling.repeat_window = *last < 0 ? kEverything : static_cast<int>(*last);
  if (window) sampling.repeat_window = static_cast<int>(*window);
}

// After the samplers whose place it takes.
void read_mirostat(Fields& fields, api::SamplingParams& sampling) {
  const auto version = fields.integer("mirostat", 0, 2);
  const auto tau = fields.number("mirostat_tau", 1e-6, 1e6), eta = fields.number("mirostat_eta", 1e-6, 1e6);
  if (tau && !version) refuse_idle(fields, "mirostat_tau", "without 'mirostat'");
  if (eta && !version) refuse_idle(fields, "mirostat_eta", "without 'mirostat'");
  sampling.mirostat = static_cast<int>(version.value_or(0));
  if (sampling.mirostat == 0) return;
  if (tau) sampling.mirostat_tau = static_cast<float>(*tau);
  if (eta) sampling.mirostat_eta = static_cast<float>(*eta);
  const std::pair<const char*, bool> cuts[] = {{"top_k", sampling.top_k != 0},
                                               {"typical_p", sampling.typical_p != 1},
                                               {"top_p", sampling.top_p != 1},
                                               {"min_p", sampling.min_p != 0}};
  for (const auto& [key, cut] : cuts) {
    if (cut && fields.any(key) != nullptr)
      refuse_idle(fields, key, fmt::format("beside 'mirostat' {}", sampling.mirostat));
  }
  if (sampling.temperature == 0 && fields.any("temperature") != nullptr)
    refuse_idle(fields, "mirostat", "at 'temperature' 0");
}

}  // namespace

CommonFields read_common_fields(Fields& fields, const Lease& lease) {
  const formats::GenerationDefaults& suggested = lease.model->file.generation;
  CommonFields common;
  api::GenerateRequest& request = common.request;
  api::SamplingParams& sampling = request.sampling;
  sampling.temperature = chosen(fields.number("temperature", 0, 2), suggested.temperature, 1);
  sampling.top_p = std::max(chosen(fields.number("top_p", 0, 1), suggested.top_p, 1), 1e-6f);
  sampling.min_p = chosen(fields.number("min_p", 0, 1), suggested.min_p, 0);
  sampling.typical_p = static_cast<float>(fields.number("typical_p", 1e-6, 1).value_or(1));
  const auto top_k = fields.integer("top_k", -1, 1 << 24);
  sampling.top_k = top_k ? static_cast<int>(std::max<std::int64_t>(*top_k, 0)) : std::max(suggested.top_k, 0);
  read_repeats(fields, suggested.repeat_penalty, sampling);
  read_mirostat(fields, sampling);
  const auto seed =
      fields.integer("seed", std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
  thread_local std::mt19937_64 random{std::random_device{}()};
  sampling.seed = seed ? static_cast<std::uint64_t>(*seed) : random();
  sampling.logit_bias = read_bias(fields, lease.model->any().model().architecture().vocab_size);
  sampling.presence_penalty = static_cast<float>(fields.number("presence_penalty", -2, 2).value_or(0));
  sampling.frequency_penalty = static_cast<float>(fields.number("frequency_penalty", -2, 2).value_or(0));
  request.stop = read_stops(fields);
  request.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  request.grammar = fields.text("grammar").value_or("");
  request.adapters = read_adapters(fields, lease);
  request.kv_policy = read_kv_policy(fields, lease);
  if (request.kv_policy.empty()) request.kv_policy = lease.kv_policy;
  common.priority = static_cast<int>(fields.integer("priority", -100, 100).value_or(0));
  common.stream = fields.boolean("stream").value_or(false);
  if (const Json* object = fields.object("stream_options")) {
    Fields options(*object, "stream_options");
    common.include_usage = options.boolean("include_usage").value_or(false);
    options.ignore({"include_obfuscation"});
    options.finish();
  }
  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"});
  return common;
}

void check_prompt(const Lease& lease, const std::vector<text::TokenId>& ids) {
  const std::uint32_t context = lease.model->any().context();
  if (ids.empty()) throw ApiError(400, "the prompt has no tokens", "prompt", "empty_prompt");
  if (ids.size() >= context) {
    throw ApiError(
        400, fmt::format("this model's maximum context length is {} tokens; the prompt has {}", context, ids.size()),
        "messages", "context_length_exceeded");
  }
}

std::vector<text::TokenId> encode_prompt(const Lease& lease, std::string_view text, bool add_special) {
  auto ids = lease.model->any().tokenizer().encode(text, {.add_special = add_special, .parse_special = true});
  check_prompt(lease, ids);
  return ids;
}

std::vector<text::TokenId> token_list(const Json& array, const std::string& name, std::size_t vocab) {
  std::vector<text::TokenId> ids;
  for (const Json& id : array) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocab)
      throw ApiError(400, fmt::format("'{}' must hold token ids below {}", name, vocab), name, "invalid_value");
    ids.push_back(static_cast<text::TokenId>(id.get<std::uint64_t>()));
  }
  return ids;
}

Json logprobs_json(std::span<const api::GeneratedToken> tokens, std::size_t top, const text::Tokenizer& tokenizer) {
  const auto entry = [&](text::TokenId id, float logprob) -> Json {
    const std::string bytes = tokenizer.token_bytes(id);
    Json numbers = Json::array();
    for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
    return {{"token", bytes}, {"logprob", std::max(logprob, -9999.0f)}, {"bytes", std::move(numbers)}};
  };
  Json all = Json::array();
  for (const api::GeneratedToken& token : tokens) {
    Json one = entry(token.id, token.logprob);
    one["top_logprobs"] = Json::array();
    for (std::size_t i = 0; i < std::min(top, token.alternatives.size()); ++i)
      one["top_logprobs"].push_back(entry(token.alternatives[i].id, token.alternatives[i].logprob));
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace lathe::serve
