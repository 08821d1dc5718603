// Attention over cached keys and values on the CPU.
#pragma once

#include <span>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/stream.h"

namespace lathe::kernels::cpu {

void run_kv_append(ThreadPool& pool, const KernelSet& kernels, const KvLayout& layout, std::span<void* const> blocks,
                   std::uint64_t first_slot, const DeviceTensor& k, const DeviceTensor& v);

void run_kv_keys(const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
                 const DeviceTensor& out);

void run_attention(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, const KvLayout& layout,
                   const AttentionParams& params, const DeviceTensor& out, const DeviceTensor& q,
                   std::span<const AttentionSequence> sequences);

}  // namespace lathe::kernels::cpu
