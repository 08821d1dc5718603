#include "serve/openai/beam_fields.h"

#include <algorithm>

#include "base/json.h"
#include "serve/openai/sampling_fields.h"

namespace lathe::serve {
namespace {

[[noreturn]] void refuse(const Fields& fields, const char* key, const std::string& why,
                         const char* code = "invalid_value") {
  throw ApiError(400, fmt::format("'{}' {}", fields.name(key), why), fields.name(key), code);
}

// A search takes the model's probabilities as they are.
void refuse_samplers(Fields& fields) {
  const std::pair<const char*, double> neutral[] = {{"temperature", 0},
                                                    {"top_p", 1},
                                                    {"min_p", 0},
                                                    {"typical_p", 1},
                                                    {"mirostat", 0},
                                                    {"top_k", 0},
                                                    {"repeat_penalty", 1},
                                                    {"presence_penalty", 0},
                                                    {"frequency_penalty", 0},
                                                    {"repetition_penalty", 1}};
  for (const auto& [key, value] : neutral) {
    const Json* given = fields.any(key);
    if (given == nullptr || *given == value || (key == std::string_view("top_k") && *given == -1)) continue;
    refuse(fields, key, fmt::format("decides nothing beside beams: leave it out, or set it to {}", value));
  }
  if (const Json* bias = fields.object("logit_bias"); bias != nullptr && !bias->empty())
    refuse(fields, "logit_bias", "decides nothing beside beams: leave it out");
}

}  // namespace

std::optional<engine::BeamOptions> read_beams(Fields& fields, const Lease& lease, std::int64_t n) {
  const std::int64_t most = std::min<std::int64_t>(kMostChoices, lease.model->most_sequences);
  auto beams = fields.integer("beams", 1, most);
  const auto best_of = fields.integer("best_of", 1, kMostChoices);
  const bool asked = fields.boolean("use_beam_search").value_or(false);
  const auto penalty = fields.number("length_penalty", -1000, 1000);
  if (beams && best_of) refuse(fields, "best_of", "decides nothing beside 'beams'");
  if (!beams && asked) {
    beams = best_of.value_or(n);
    if (*beams > most)
      refuse(fields, best_of ? "best_of" : "n",
             fmt::format("asks for {} beams; this server follows {} at most", *beams, most));
  }
  if (!beams) {
    if (penalty) refuse(fields, "length_penalty", "decides nothing without 'beams'");
    if (best_of.value_or(n) != n) refuse(fields, "best_of", "must equal 'n'", "unsupported_parameter");
    return std::nullopt;
  }
  if (n > *beams) refuse(fields, "n", fmt::format("asks for {} texts of {} beams", n, *beams));
  refuse_samplers(fields);
  if (fields.boolean("stream").value_or(false))
    refuse(fields, "stream", "is not supported with beams: no text is sure before the end", "unsupported_parameter");
  if (fields.any("logprobs") != nullptr)
    refuse(fields, "logprobs", "is not supported with beams, which tell the whole text's 'cumulative_logprob'",
           "unsupported_parameter");
  engine::BeamOptions options{static_cast<std::uint32_t>(*beams), static_cast<std::uint32_t>(n)};
  if (penalty) options.length_penalty = static_cast<float>(*penalty);
  return options;
}

void refuse_beams(Fields& fields) {
  for (const char* key : {"beams", "use_beam_search", "best_of", "length_penalty"}) {
    const Json* given = fields.any(key);
    if (given == nullptr || *given == false) continue;
    refuse(fields, key, "is not supported here: beam search is part of /v1/completions only", "unsupported_parameter");
  }
}

}  // namespace lathe::serve
