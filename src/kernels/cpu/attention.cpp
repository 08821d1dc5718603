#include "kernels/cpu/attention.h"

#include "kernels/cpu/reference.h"

namespace lathe::kernels::cpu {

void run_kv_append(ThreadPool& pool, const KernelSet&, const KvLayout& layout, std::span<void* const> blocks,
                   std::uint64_t first_slot, const DeviceTensor& k, const DeviceTensor& v) {
  pool.parallel_for(k.rows, 16, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t row = begin; row < end; ++row) {
      void* block = blocks[(first_slot + row) / layout.block_tokens];
      const std::uint64_t slot = (first_slot + row) % layout.block_tokens;
      const float* key = static_cast<const float*>(k.data) + row * k.stride;
      const float* value = static_cast<const float*>(v.data) + row * v.stride;
      for (std::uint64_t head = 0; head < layout.n_kv_heads; ++head) {
        reference_store_key(layout, block, slot, head, key + head * layout.k_dim);
        reference_store_value(layout, block, slot, head, value + head * layout.v_dim);
      }
    }
  });
}

void run_attention(ThreadPool& pool, const KernelSet&, CpuStream&, const KvLayout& layout,
                   const AttentionParams& params, const DeviceTensor& out, const DeviceTensor& q,
                   std::span<const AttentionSequence> sequences) {
  for (const AttentionSequence& sequence : sequences) {
    std::uint64_t slots = 0;
    for (const KvRun& run : sequence.runs) slots += run.end - run.begin;
    std::vector<double> mass(sequence.mass ? slots : 0);
    const auto head_of = [&](std::uint64_t row, std::uint64_t head) {
      const std::uint64_t at = sequence.row_begin + row;
      reference_attention_head(
          layout, params, sequence, row, head, static_cast<const float*>(q.data) + at * q.stride + head * layout.k_dim,
          static_cast<float*>(out.data) + at * out.stride + head * layout.v_dim, sequence.mass ? mass.data() : nullptr);
    };
    if (sequence.mass) {
      for (std::uint64_t row = 0; row < sequence.row_count; ++row) {
        for (std::uint64_t head = 0; head < params.n_heads; ++head) head_of(row, head);
      }
      for (std::uint64_t i = 0; i < slots; ++i) sequence.mass[i] += static_cast<float>(mass[i]);
    } else {
      pool.parallel_for(sequence.row_count * params.n_heads, 1, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t task = begin; task < end; ++task) head_of(task / params.n_heads, task % params.n_heads);
      });
    }
  }
}

}  // namespace lathe::kernels::cpu
