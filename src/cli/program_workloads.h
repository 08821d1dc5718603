// The programs that bench serve --workload runs (the workloads of Parrot, Lin et al. 2024, section 8).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::cli {

struct WorkloadOptions {
  std::string name;             // chain, map-reduce, shared-prompt or multi-agent
  std::uint32_t calls = 16;     // links of the chain, maps, users, or twice the agents
  std::uint32_t shared = 1024;  // tokens of the prompt that shared-prompt's users have in common
};

// A call: what stands before its output, as text and names of others' outputs.
struct WorkloadCall {
  std::string output;
  std::vector<std::pair<bool, std::string>> prompt;  // (is a name, text or name)
};

struct ProgramWorkload {
  std::vector<WorkloadCall> calls;
  std::vector<std::string> wanted;
};

bool is_workload(std::string_view name);
// Prompts of words without meaning; the same for the same seed, and no two seeds' begin alike.
ProgramWorkload make_workload(const WorkloadOptions& options, const text::Tokenizer& tokenizer, std::uint64_t seed);

}  // namespace lathe::cli
