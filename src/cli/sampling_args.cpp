// Sampling options, their ranges and their defaults.
#include "cli/sampling_args.h"

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

}  // namespace

void add_sampling_options(Options& options, SamplingArgs& args) {
  const api::SamplingParams usual;
  const auto otherwise = [](auto value) { return fmt::format("the model's, or {}", value); };
  options.value("--temperature,--temp", args.temperature, "T",
                "flattens (> 1) or sharpens (< 1) the choice; 0: always the likeliest token",
                otherwise(usual.temperature));
  options.value("--top-k", args.top_k, "K", "choose among the K likeliest tokens; 0: all", otherwise(usual.top_k));
  options.value("--top-p", args.top_p, "P",
                "choose among the likeliest tokens that together have probability P; 1: all", otherwise(usual.top_p));
  options.value("--min-p", args.min_p, "P", "drop tokens less likely than P times the likeliest; 0: none",
                otherwise(usual.min_p));
  options.value("--repeat-penalty", args.repeat_penalty, "R", "makes recent tokens less likely; 1: no penalty",
                otherwise(usual.repeat_penalty));
  options.value("--seed", args.seed, "N", "of the random choices; the same seed gives the same text");
  options.list("--stop", args.stop, "TEXT", "end before this text");
  options.flag("--ignore-eos", args.ignore_eos, "go on after an end token");
}

void validate(const SamplingArgs& args) {
  check(args.temperature.value_or(0) >= 0, "--temperature", "0 or more");
  check(args.top_k.value_or(0) >= 0, "--top-k", "0 or more");
  const float top_p = args.top_p.value_or(1), min_p = args.min_p.value_or(0);
  check(top_p > 0 && top_p <= 1, "--top-p", "above 0 and at most 1");
  check(min_p >= 0 && min_p <= 1, "--min-p", "between 0 and 1");
  check(args.repeat_penalty.value_or(1) > 0, "--repeat-penalty", "above 0");
  for (const std::string& stop : args.stop) check(!stop.empty(), "--stop", "some text");
}

void apply(const SamplingArgs& args, const formats::GenerationDefaults& suggested, api::GenerateRequest& request) {
  const api::SamplingParams usual;
  api::SamplingParams& sampling = request.sampling;
  sampling.temperature = chosen(args.temperature, suggested.temperature, usual.temperature);
  sampling.top_k = chosen(args.top_k, suggested.top_k, usual.top_k);
  sampling.top_p = chosen(args.top_p, suggested.top_p, usual.top_p);
  sampling.min_p = chosen(args.min_p, suggested.min_p, usual.min_p);
  sampling.repeat_penalty = chosen(args.repeat_penalty, suggested.repeat_penalty, usual.repeat_penalty);
  sampling.seed = args.seed;
  request.stop = args.stop;
  request.ignore_eos = args.ignore_eos;
}

}  // namespace lathe::cli
