// --draft: what guesses tokens ahead of the model, for the verbs that generate text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/options.h"
#include "engine/runtime.h"

namespace lathe::cli {

struct DraftArgs {
  std::optional<std::string> draft;  // a model, "layers:N" or "ngram"
  std::optional<std::uint32_t> tokens;
};

void add_draft_options(Options& options, DraftArgs& args);

// Throws, before anything is loaded, for what cannot work.
void validate(const DraftArgs& args);

// Loads the draft model, if there is one, on the runtime of the model it guesses for.
engine::DraftOptions open_draft(const DraftArgs& args, engine::Runtime& runtime);

}  // namespace lathe::cli
