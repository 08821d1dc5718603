// lathe bench serve --workload: programs of semantic variables against the same calls made one by one by a client that
// is a stated round trip away (the workloads of Parrot, Lin et al. 2024, section 8).
#pragma once

#include <cstdint>
#include <string>

#include "cli/common.h"

namespace lathe::cli {

struct ProgramBench {
  std::string workload;  // empty: none
  std::uint32_t rtt_ms = 100, calls = 16, shared = 1024, generate = 32, parallel = 16, chunk = 256, repeat = 3;
};

void add_program_bench_options(Options& options, ProgramBench& bench);
int bench_programs(const ProgramBench& bench, const ModelArgs& model, DeviceArgs device, const OutputArgs& output);

}  // namespace lathe::cli
