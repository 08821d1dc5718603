// --adapter FILE[:scale], repeatable, for the verbs that generate text.
#pragma once

#include <string>
#include <vector>

#include "cli/common.h"

namespace lathe::cli {

struct AdapterArgs {
  std::vector<std::string> adapters;  // as written
};

void add_adapter_option(Options& options, AdapterArgs& args);

// Loads and registers each adapter; returns their uses for api::GenerateRequest::adapters.
std::vector<api::AdapterUse> open_adapters(const AdapterArgs& args, const OpenModel& open);

}  // namespace lathe::cli
