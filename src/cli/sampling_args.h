// How the next token is chosen: the options run and chat share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/generator.h"
#include "cli/options.h"
#include "formats/model_file.h"

namespace lathe::cli {

// Options not given fall back to what the model's files suggest, then to api::SamplingParams.
struct SamplingArgs {
  std::optional<float> temperature, top_p, min_p, typical_p, repeat_penalty;
  std::optional<float> presence_penalty, frequency_penalty, mirostat_tau, mirostat_eta;
  std::optional<int> top_k, repeat_window;
  int mirostat = 0;
  std::vector<std::string> logit_bias;  // as written: "ID:BIAS"
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

void add_sampling_options(Options& options, SamplingArgs& args);

// Throws UsageError naming an option that is out of its range, or that another one leaves nothing to decide.
void validate(const SamplingArgs& args);

// The first option given that chooses between tokens (not --stop or --ignore-eos); empty when none is.
std::string_view sampling_option_given(const SamplingArgs& args);

// Fills everything of `request` that these options decide.
void apply(const SamplingArgs& args, const formats::GenerationDefaults& suggested, api::GenerateRequest& request);

}  // namespace lathe::cli
