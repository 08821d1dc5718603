// Sampling options, their ranges and their defaults.
#include "cli/sampling_args.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace lathe::cli {
namespace {

void check(bool good, std::string_view option, std::string_view range) {
  if (!good) throw UsageError(fmt::format("{} must be {}", option, range));
}

// The option, what the model suggests (negative: nothing), or `otherwise`.
template <class T>
T chosen(const std::optional<T>& option, T suggested, T otherwise) {
  if (option) return *option;
  return suggested >= 0 ? suggested : otherwise;
}

template <class T>
bool read_whole(std::string_view text, T& value) {
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc{} && stop == text.data() + text.size();
}

// "29871:-2.5"; the bias may be inf or -inf, to force or forbid a token.
std::pair<text::TokenId, float> parse_bias(const std::string& written) {
  const std::string_view text = written;
  const std::size_t colon = text.find(':');
  std::pair<text::TokenId, float> bias;
  const bool good = colon != std::string_view::npos && read_whole(text.substr(0, colon), bias.first) &&
                    read_whole(text.substr(colon + 1), bias.second) && bias.first >= 0 && !std::isnan(bias.second);
  check(good, "--logit-bias", fmt::format("a token id and a number, as in 15:-2.5, not '{}'", written));
  return bias;
}

}  // namespace

void add_sampling_options(Options& options, SamplingArgs& args) {
  const api::SamplingParams usual;
  const auto otherwise = [](auto value) { return fmt::format("the model's, or {}", value); };
  options.value("--temperature,--temp", args.temperature, "T",
                "flattens (> 1) or sharpens (< 1) the choice; 0: always the likeliest token",
                otherwise(usual.temperature));
  options.value("--top-k", args.top_k, "K", "choose among the K likeliest tokens; 0: all", otherwise(usual.top_k));
  options.value("--typical", args.typical_p, "P",
                "choose among the tokens of the most typical surprise that together have probability P; 1: all",
                fmt::to_string(usual.typical_p));
  options.value("--top-p", args.top_p, "P",
                "choose among the likeliest tokens that together have probability P; 1: all", otherwise(usual.top_p));
  options.value("--min-p", args.min_p, "P", "drop tokens less likely than P times the likeliest; 0: none",
                otherwise(usual.min_p));
  options.value("--mirostat", args.mirostat, "VERSION",
                "1 or 2: keep the surprise near --mirostat-tau, instead of --top-k, --typical, --top-p and --min-p");
  options.value("--mirostat-tau", args.mirostat_tau, "BITS", "the surprise to keep, per token",
                fmt::to_string(usual.mirostat_tau));
  options.value("--mirostat-eta", args.mirostat_eta, "RATE", "how fast mirostat corrects itself",
                fmt::to_string(usual.mirostat_eta));
  options.value("--repeat-penalty", args.repeat_penalty, "R", "makes recent tokens less likely; 1: no penalty",
                otherwise(usual.repeat_penalty));
  options.value("--repeat-window", args.repeat_window, "N", "how many tokens back --repeat-penalty looks",
                fmt::to_string(usual.repeat_window));
  options.value("--presence-penalty", args.presence_penalty, "X",
                "taken off the logit of every token generated before; 0: none", fmt::to_string(usual.presence_penalty));
  options.value("--frequency-penalty", args.frequency_penalty, "X",
                "taken off for each time a token was generated before; 0: none",
                fmt::to_string(usual.frequency_penalty));
  options.list("--logit-bias", args.logit_bias, "ID:BIAS", "added to a token's logit; -inf forbids it, inf forces it");
  options.value("--seed", args.seed, "N", "of the random choices; the same seed gives the same text",
                fmt::to_string(usual.seed));
  options.list("--stop", args.stop, "TEXT", "end before this text");
  options.flag("--ignore-eos", args.ignore_eos, "go on after an end token");
}

void validate(const SamplingArgs& args) {
  const auto share = [](const std::optional<float>& value, std::string_view option) {
    check(value.value_or(1) > 0 && value.value_or(1) <= 1, option, "above 0 and at most 1");
  };
  check(args.temperature.value_or(0) >= 0, "--temperature", "0 or more");
  check(args.top_k.value_or(0) >= 0, "--top-k", "0 or more");
  share(args.top_p, "--top-p");
  share(args.typical_p, "--typical");
  const float min_p = args.min_p.value_or(0);
  check(min_p >= 0 && min_p <= 1, "--min-p", "between 0 and 1");
  check(args.repeat_penalty.value_or(1) > 0, "--repeat-penalty", "above 0");
  check(args.repeat_window.value_or(0) >= 0, "--repeat-window", "0 or more");
  check(args.mirostat >= 0 && args.mirostat <= 2, "--mirostat", "1 or 2, or 0 for none");
  check(args.mirostat_tau.value_or(1) > 0, "--mirostat-tau", "above 0");
  check(args.mirostat_eta.value_or(1) > 0, "--mirostat-eta", "above 0");
  for (const std::string& text : args.logit_bias) parse_bias(text);
  for (const std::string& stop : args.stop) check(!stop.empty(), "--stop", "some text");

  const auto idle = [](bool given, std::string_view option, std::string_view why) {
    if (given) throw UsageError(fmt::format("{} decides nothing {}", option, why), {}, "leave one of them out");
  };
  const bool mirostat = args.mirostat > 0;
  const auto beside_mirostat = fmt::format("beside --mirostat {}", args.mirostat);
  idle(mirostat && args.top_k.has_value(), "--top-k", beside_mirostat);
  idle(mirostat && args.typical_p.has_value(), "--typical", beside_mirostat);
  idle(mirostat && args.top_p.has_value(), "--top-p", beside_mirostat);
  idle(mirostat && args.min_p.has_value(), "--min-p", beside_mirostat);
  idle(mirostat && args.temperature == 0.0f, "--mirostat", "at --temperature 0");
  idle(!mirostat && args.mirostat_tau.has_value(), "--mirostat-tau", "without --mirostat");
  idle(!mirostat && args.mirostat_eta.has_value(), "--mirostat-eta", "without --mirostat");
}

std::string_view sampling_option_given(const SamplingArgs& args) {
  const std::pair<bool, std::string_view> given[] = {{args.temperature.has_value(), "--temperature"},
                                                     {args.top_k.has_value(), "--top-k"},
                                                     {args.typical_p.has_value(), "--typical"},
                                                     {args.top_p.has_value(), "--top-p"},
                                                     {args.min_p.has_value(), "--min-p"},
                                                     {args.mirostat > 0, "--mirostat"},
                                                     {args.repeat_penalty.has_value(), "--repeat-penalty"},
                                                     {args.repeat_window.has_value(), "--repeat-window"},
                                                     {args.presence_penalty.has_value(), "--presence-penalty"},
                                                     {args.frequency_penalty.has_value(), "--frequency-penalty"},
                                                     {!args.logit_bias.empty(), "--logit-bias"},
                                                     {args.seed.has_value(), "--seed"}};
  for (const auto& [is_given, option] : given) {
    if (is_given) return option;
  }
  return {};
}

void apply(const SamplingArgs& args, const formats::GenerationDefaults& suggested, api::GenerateRequest& request) {
  const api::SamplingParams usual;
  api::SamplingParams& sampling = request.sampling;
  sampling.temperature = chosen(args.temperature, suggested.temperature, usual.temperature);
  sampling.top_k = chosen(args.top_k, suggested.top_k, usual.top_k);
  sampling.top_p = chosen(args.top_p, suggested.top_p, usual.top_p);
  sampling.min_p = chosen(args.min_p, suggested.min_p, usual.min_p);
  sampling.typical_p = args.typical_p.value_or(usual.typical_p);
  sampling.repeat_penalty = chosen(args.repeat_penalty, suggested.repeat_penalty, usual.repeat_penalty);
  sampling.repeat_window = args.repeat_window.value_or(usual.repeat_window);
  sampling.presence_penalty = args.presence_penalty.value_or(usual.presence_penalty);
  sampling.frequency_penalty = args.frequency_penalty.value_or(usual.frequency_penalty);
  sampling.mirostat = args.mirostat;
  sampling.mirostat_tau = args.mirostat_tau.value_or(usual.mirostat_tau);
  sampling.mirostat_eta = args.mirostat_eta.value_or(usual.mirostat_eta);
  for (const std::string& text : args.logit_bias) sampling.logit_bias.push_back(parse_bias(text));
  sampling.seed = args.seed.value_or(usual.seed);
  request.stop = args.stop;
  request.ignore_eos = args.ignore_eos;
}

}  // namespace lathe::cli
