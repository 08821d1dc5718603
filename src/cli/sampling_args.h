// How the next token is chosen: the options run and chat share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/generator.h"
#include "cli/options.h"
#include "formats/model_file.h"

namespace lathe::cli {

// Options not given fall back to what the model's files suggest, then to api::SamplingParams.
struct SamplingArgs {
  std::optional<float> temperature, top_p, min_p, repeat_penalty;
  std::optional<int> top_k;
  std::uint64_t seed = 0;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

void add_sampling_options(Options& options, SamplingArgs& args);

// Throws UsageError naming an option that is out of its range.
void validate(const SamplingArgs& args);

// Fills everything of `request` that these options decide.
void apply(const SamplingArgs& args, const formats::GenerationDefaults& suggested, api::GenerateRequest& request);

}  // namespace lathe::cli
