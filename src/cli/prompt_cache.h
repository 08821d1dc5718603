// --prompt-cache FILE, for the verbs that generate text: what was read of prompts, kept from one run to the next.
#pragma once

#include <optional>
#include <string>

#include "cli/common.h"

namespace lathe::cli {

void add_prompt_cache_option(Options& options, std::optional<std::string>& file);

// Both do nothing without a file. A file that is there and cannot be used is an error before anything is generated,
// so that it is not replaced; one that cannot be written afterwards is a warning, since the text has been.
void load_prompt_cache(const std::optional<std::string>& file, const OpenModel& open);
void save_prompt_cache(const std::optional<std::string>& file, const OpenModel& open);

}  // namespace lathe::cli
