// lathe bench serve --workload: programs of semantic variables against the same calls made one by one by a client that
// is a stated round trip away (the workloads of Parrot, Lin et al. 2024, section 8).
#pragma once

#include <cstdint>

#include "cli/common.h"
#include "cli/own_server.h"
#include "cli/program_workloads.h"

namespace lathe::cli {

struct ProgramBench {
  WorkloadOptions workload;  // no name: none
  OwnServerOptions server;
  std::uint32_t rtt_ms = 100, generate = 32, chats = 0, repeat = 3;
  bool no_prefix_cache = false;
};

void add_program_bench_options(Options& options, ProgramBench& bench);
int bench_programs(const ProgramBench& bench, const ModelArgs& model, DeviceArgs device, const OutputArgs& output);

}  // namespace lathe::cli
