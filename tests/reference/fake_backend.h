// A backend that proves that nobody but a backend touches device memory: the addresses it hands out cannot be read or
// written (they lie in reserved pages without access), every address it is given must lie inside something it handed
// out, and only then is the operation carried out, by another backend on its own memory. It also writes down the
// operations.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace lathe::test {

class FakeBackend final : public kernels::Backend {
 public:
  explicit FakeBackend(std::shared_ptr<kernels::Backend> inner);

  // The names of the operations enqueued so far, in order; memory operations included.
  std::vector<std::string> log;

  std::string_view name() const override { return "fake"; }
  std::string description() const override { return "recording " + inner_->description(); }
  std::string arithmetic() const override { return inner_->arithmetic(); }
  std::unique_ptr<kernels::Stream> make_stream() override { return inner_->make_stream(); }

  kernels::DeviceBuffer allocate(std::uint64_t bytes) override;
  std::uint64_t allocated_bytes() const override { return inner_->allocated_bytes(); }
  void upload(kernels::Stream& stream, void* target, const void* source, std::uint64_t bytes) override;
  void download(kernels::Stream& stream, void* target, const void* source, std::uint64_t bytes) override;
  void copy(kernels::Stream& stream, void* target, const void* source, std::uint64_t bytes) override;
  void synchronize(kernels::Stream& stream) override;

  std::shared_ptr<const kernels::PreparedLinear> prepare(const Linear& linear) override;
  std::shared_ptr<const kernels::PreparedTable> prepare_table(const PackedTensor& table) override;

  void embed(kernels::Stream& stream, kernels::DeviceTensor out, const kernels::PreparedTable& table,
             const std::int32_t* ids, float scale, bool accumulate) override;
  void linear(kernels::Stream& stream, kernels::DeviceTensor x, std::span<const kernels::LinearCall> calls) override;
  void grouped_linear(kernels::Stream& stream, kernels::DeviceTensor x, const std::int32_t* choice,
                      std::span<const kernels::GroupedCall> calls) override;
  void route(kernels::Stream& stream, const kernels::RouterParams& params, kernels::DeviceTensor weights,
             kernels::DeviceTensor experts, kernels::DeviceTensor logits) override;
  void combine(kernels::Stream& stream, kernels::DeviceTensor out, kernels::DeviceTensor x,
               kernels::DeviceTensor weights, bool accumulate) override;
  void low_rank(kernels::Stream& stream, kernels::DeviceTensor out, kernels::DeviceTensor x,
                const kernels::PreparedLinear& a, const kernels::PreparedLinear& b, float scale,
                std::span<const std::uint32_t> rows) override;
  void norm(kernels::Stream& stream, NormKind kind, kernels::DeviceTensor out, kernels::DeviceTensor x,
            const float* weight, const float* bias, std::uint64_t weight_size, float eps) override;
  void rope_table(kernels::Stream& stream, kernels::DeviceTensor table, const std::int32_t* positions,
                  const float* inv_freq, std::uint64_t n_freq, float mscale) override;
  void rope(kernels::Stream& stream, kernels::DeviceTensor x, kernels::DeviceTensor table, std::uint32_t head_dim,
            RopeLayout layout) override;
  std::uint64_t kv_block_bytes(const kernels::KvLayout& layout) const override;
  void kv_append(kernels::Stream& stream, const kernels::KvLayout& layout, std::span<void* const> blocks,
                 std::uint64_t first_slot, kernels::DeviceTensor k, kernels::DeviceTensor v) override;
  void kv_keys(kernels::Stream& stream, const kernels::KvLayout& layout, std::span<void* const> blocks,
               std::uint64_t first_slot, kernels::DeviceTensor out) override;
  void attention(kernels::Stream& stream, const kernels::KvLayout& layout, const kernels::AttentionParams& params,
                 kernels::DeviceTensor out, kernels::DeviceTensor q,
                 std::span<const kernels::AttentionSequence> sequences) override;
  void activate(kernels::Stream& stream, ActivationKind kind, kernels::DeviceTensor out,
                kernels::DeviceTensor x) override;
  void gated(kernels::Stream& stream, ActivationKind kind, kernels::DeviceTensor out, kernels::DeviceTensor gate,
             kernels::DeviceTensor up) override;
  void gated_clamped(kernels::Stream& stream, kernels::DeviceTensor out, kernels::DeviceTensor gate,
                     kernels::DeviceTensor up, float limit) override;
  void assign(kernels::Stream& stream, kernels::DeviceTensor out, kernels::DeviceTensor x) override;
  void add(kernels::Stream& stream, kernels::DeviceTensor out, kernels::DeviceTensor a,
           kernels::DeviceTensor b) override;
  void scale(kernels::Stream& stream, kernels::DeviceTensor x, float factor) override;
  void softcap(kernels::Stream& stream, kernels::DeviceTensor x, float cap) override;
  void gather_rows(kernels::Stream& stream, kernels::DeviceTensor out, kernels::DeviceTensor x,
                   std::span<const std::uint32_t> rows) override;
  void argmax(kernels::Stream& stream, std::int32_t* out, kernels::DeviceTensor x) override;

 private:
  struct Allocation;
  struct State;
  // The inner backend's address for `bytes` bytes at a handed-out one; throws std::logic_error when they do not lie
  // inside one allocation. nullptr stays nullptr.
  void* real(const void* address, std::uint64_t bytes) const;
  template <class T>
  T* real(T* address, std::uint64_t count) const {
    return static_cast<T*>(real(static_cast<const void*>(address), count * sizeof(T)));
  }
  kernels::DeviceTensor real(kernels::DeviceTensor tensor) const;
  // Addresses of the blocks that slots [begin, end) lie in; the others become nullptr.
  std::vector<void*> real_blocks(const kernels::KvLayout& layout, std::span<void* const> blocks, std::uint64_t begin,
                                 std::uint64_t end) const;

  std::shared_ptr<kernels::Backend> inner_;
  std::shared_ptr<State> state_;  // shared with the buffers, which may outlive this
};

}  // namespace lathe::test
