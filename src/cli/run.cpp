// lathe run: generate text, written as it comes.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/adapter_args.h"
#include "cli/common.h"
#include "cli/prompt_cache.h"
#include "cli/sampling_args.h"
#include "cli/verbs.h"
#include "engine/sampler.h"

namespace lathe::cli {
namespace {

constexpr std::string_view kTinyPrompt = "Once upon a time";

Json alternatives_json(const api::GeneratedToken& token, const text::Tokenizer& tokenizer) {
  Json top = Json::array();
  for (const api::TokenLogprob& other : token.alternatives) {
    top.push_back({{"id", other.id}, {"piece", tokenizer.piece(other.id)}, {"logprob", other.logprob}});
  }
  return {{"id", token.id}, {"piece", tokenizer.piece(token.id)}, {"logprob", token.logprob}, {"top", std::move(top)}};
}

Json result_json(const api::GenerateResult& result, const OpenModel& open, const api::GenerateRequest& request) {
  Json ids = Json::array(), logprobs = Json::array();
  for (const api::GeneratedToken& token : result.tokens) {
    ids.push_back(token.id);
    if (request.logprobs > 0) logprobs.push_back(alternatives_json(token, open.tokenizer()));
  }
  const std::size_t prefilled = result.prompt_ids.size() - result.cached_prompt_tokens;
  Json object = {{"text", result.text},
                 {"prompt_tokens", result.prompt_ids.size()},
                 {"cached_tokens", result.cached_prompt_tokens},
                 {"generated_tokens", result.tokens.size()},
                 {"ids", std::move(ids)},
                 {"stop_reason", api::stop_reason_name(result.stop_reason)},
                 {"prefill_tokens_per_second", per_second(static_cast<double>(prefilled), result.prefill_seconds)},
                 {"decode_tokens_per_second", decode_rate(result)},
                 {"prefill_seconds", result.prefill_seconds},
                 {"decode_seconds", result.decode_seconds},
                 {"prompt_ids", result.prompt_ids},
                 {"model", open.file.path},
                 {"seed", request.sampling.seed}};
  if (request.logprobs > 0) object["logprobs"] = std::move(logprobs);
  if (result.drafted_tokens > 0)
    object["draft"] = {{"guessed", result.drafted_tokens}, {"accepted", result.accepted_tokens}};
  return object;
}

Json beam_json(const engine::BeamResult& beam) {
  Json ids = Json::array();
  for (const api::GeneratedToken& token : beam.result.tokens) ids.push_back(token.id);
  return {{"text", beam.result.text},
          {"ids", std::move(ids)},
          {"stop_reason", api::stop_reason_name(beam.result.stop_reason)},
          {"logprob", beam.logprob},
          {"score", beam.score}};
}

// Beam search writes when it is done: until then no text is sure.
int run_beams(const OpenModel& open, const api::GenerateRequest& request, const engine::BeamOptions& beams,
              const OutputArgs& output) {
  std::vector<engine::BeamResult> found;
  {
    Progress progress("beam search", request.max_tokens, !output.quiet);
    found = open.session->beam_search(request, beams, [&](std::uint32_t tokens) {
      progress.set(tokens);
      return true;
    });
  }
  const api::GenerateResult& best = found.front().result;
  if (output.json) {
    Json object = result_json(best, open, request), all = Json::array();
    for (const engine::BeamResult& beam : found) all.push_back(beam_json(beam));
    object["beams"] = std::move(all);
    print_json(object);
  } else if (beams.results == 1) {
    print_text(best.text + "\n");
  } else {
    for (const engine::BeamResult& beam : found) print_text(fmt::format("{:.4f} {}\n", beam.score, beam.result.text));
  }
  return best.stop_reason == api::StopReason::kCancelled ? kExitInterrupted : kExitSuccess;
}

// An object, true or false; a list, which is no schema, will be refused as one.
bool is_schema_text(std::string_view given) {
  const std::size_t first = given.find_first_not_of(" \t\r\n");
  return given == "true" || given == "false" ||
         (first != std::string_view::npos && (given[first] == '{' || given[first] == '['));
}

// One line per token: what it says, its log-probability, and the alternatives.
void print_logprobs(const api::GenerateResult& result, const text::Tokenizer& tokenizer) {
  std::string table;
  for (const api::GeneratedToken& token : result.tokens) {
    table += fmt::format("{:<20} {:8.4f} ", in_quotes(tokenizer.token_bytes(token.id)), token.logprob);
    for (const api::TokenLogprob& other : token.alternatives) {
      table += fmt::format(" {}:{:.4f}", in_quotes(tokenizer.token_bytes(other.id)), other.logprob);
    }
    table += '\n';
  }
  print_text(table);
}

}  // namespace

int run_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  SamplingArgs sampling;
  AdapterArgs adapters;
  DraftArgs draft;
  std::optional<std::string> text, file, grammar, schema, prompt_cache;
  std::optional<std::uint32_t> beams, n_best;
  std::optional<float> length_penalty;
  bool echo = false, no_special = false;
  api::GenerateRequest request;
  request.max_tokens = 256;

  Options options("run", "[MODEL] [-p TEXT] [options]",
                  "Generates text from a prompt and writes it as it comes. Without a prompt, the model inside this "
                  "program tells a story. Ctrl-C stops it.");
  add_model_options(options, model, false);
  options.value("-p,--prompt", text, "TEXT", "what the text begins with; for tiny, 'Once upon a time' when not given");
  options.value("-f,--file", file, "FILE", "read the prompt from FILE; - reads standard input");
  options.value("-n,--tokens", request.max_tokens, "N", "tokens to generate at most");
  options.flag("--echo", echo, "write the prompt before the text");
  options.flag("--no-special", no_special, "no BOS before the prompt, and control tokens spelled in it are plain text");
  add_sampling_options(options, sampling);
  options.value("--grammar", grammar, "FILE|TEXT", "only text that this GBNF grammar allows; a text has ::= in it");
  options.value(
      "--json-schema", schema, "FILE|TEXT",
      "only JSON that this schema allows; a text begins with { or is true. {\"type\":\"object\"} is any object");
  add_adapter_option(options, adapters);
  add_draft_options(options, draft);
  add_prompt_cache_option(options, prompt_cache);
  const engine::BeamOptions usual;
  options.value("--beams", beams, "N", "search for the likeliest text with N beams instead of choosing token by token",
                "no search");
  options.value("--length-penalty", length_penalty, "A", "of beam search; 0: none, more: longer texts",
                fmt::to_string(usual.length_penalty));
  options.value("--n-best", n_best, "N", "show the N best texts that beam search finds", "1");
  options.value("--logprobs", request.logprobs, "N",
                "show every token's log-probability with N alternatives, instead of the text");
  add_device_options(options, device, "tokens of context; 0: what the model was trained for");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  validate(sampling);
  validate(draft);
  if (request.logprobs < 0) throw UsageError("--logprobs must be 0 or more");

  engine::BeamOptions search = usual;
  if (beams) {
    search = {*beams, n_best.value_or(1), length_penalty.value_or(usual.length_penalty)};
    engine::validate(search);
    if (draft.draft)
      throw UsageError("--draft guesses for one text, --beams follows several", {}, "leave one of them out");
    if (prompt_cache) throw UsageError("--beams begins with no cache", {}, "leave out --prompt-cache, or --beams");
    if (request.logprobs > 0)
      throw UsageError("--logprobs shows single tokens, --beams whole texts", {}, "leave one of them out");
    if (const std::string_view given = sampling_option_given(sampling); !given.empty())
      throw UsageError(fmt::format("{} decides nothing beside --beams", given), {}, "leave one of them out");
  } else if (n_best || length_penalty) {
    throw UsageError(fmt::format("{} decides nothing without --beams", n_best ? "--n-best" : "--length-penalty"));
  }

  if (grammar && schema) throw UsageError("both --grammar and --json-schema are given");
  for (const auto& [given, option] : {std::pair(&grammar, "--grammar"), std::pair(&schema, "--json-schema")}) {
    if (*given && (*given)->empty()) throw UsageError(fmt::format("{} is empty", option));
  }
  if (grammar) request.grammar = grammar->find("::=") != std::string::npos ? *grammar : read_file(*grammar);
  if (schema) request.json_schema = is_schema_text(*schema) ? *schema : read_file(*schema);
  if ((grammar && request.grammar.empty()) || (schema && request.json_schema.empty()))
    throw UsageError(fmt::format("{} is empty", grammar ? "--grammar" : "--json-schema"));

  const bool tiny = find_model(model) == kTinyModel;
  request.prompt = prompt_from(text, file, tiny ? std::optional(kTinyPrompt) : std::nullopt);
  request.add_special = request.parse_special = !no_special;
  const OpenModel open = open_model(
      model, device, output,
      [&](const auto&, engine::SessionOptions& session) { session.max_batch = beams.value_or(1); }, draft);
  open.tokenizer();
  apply(sampling, open.file.generation, request);
  engine::validate(request.sampling, open.file.architecture.vocab_size);  // before anything is written
  request.adapters = open_adapters(adapters, open);

  if (beams) return run_beams(open, request, search, output);
  load_prompt_cache(prompt_cache, open);
  const bool stream = !output.json && request.logprobs == 0;
  const bool story = tiny && !text && !file && !grammar && !schema;
  if (stream && (echo || story)) print_text(request.prompt);
  const api::GenerateResult result = open.session->generate(request, [stream](std::string_view piece) {
    if (stream) print_text(piece);
    return true;
  });
  const bool interrupted = result.stop_reason == api::StopReason::kCancelled;
  save_prompt_cache(prompt_cache, open);

  if (output.json) {
    print_json(result_json(result, open, request));
  } else {
    if (stream) print_text("\n");
    if (request.logprobs > 0) print_logprobs(result, open.tokenizer());
    const std::size_t prefilled = result.prompt_ids.size() - result.cached_prompt_tokens;
    log_info("{} prompt tokens at {:.1f}/s, {} generated at {:.1f}/s, ended by {}", result.prompt_ids.size(),
             per_second(static_cast<double>(prefilled), result.prefill_seconds), result.tokens.size(),
             decode_rate(result), api::stop_reason_name(result.stop_reason));
    if (result.drafted_tokens > 0)
      log_info("{} of {} guessed tokens were right", result.accepted_tokens, result.drafted_tokens);
  }
  return interrupted ? kExitInterrupted : kExitSuccess;
}

}  // namespace lathe::cli
