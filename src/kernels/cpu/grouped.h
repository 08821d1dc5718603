// Products whose rows choose among matrices of one shape: experts of a mixture, a matrix per head.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/stream.h"

namespace lathe::kernels::cpu {

// Backend::grouped_linear; the choices are checked by the caller. The rows that chose a matrix are multiplied with it
// together, so that each chosen matrix is read once.
void run_grouped_linear(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, DeviceTensor x,
                        const std::int32_t* choice, std::span<const GroupedCall> calls);

}  // namespace lathe::kernels::cpu
