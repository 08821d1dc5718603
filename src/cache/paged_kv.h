// A sequence's keys and values in blocks of a pool: shared with other sequences up to where they differ, copied on the
// first write to a shared block.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/block_pool.h"
#include "cache/kv_policy.h"
#include "model/sequence_state.h"

namespace lathe::cache {

class ContextMemory;

class PagedKv final : public model::SequenceState {
 public:
  // Starts with `prefix` (full blocks of a prefix tree) as its first prefix.size() * block_tokens tokens.
  PagedKv(BlockPool& pool, std::shared_ptr<const KvPolicy> policy, std::vector<BlockRef> prefix = {});
  PagedKv(PagedKv&& other) noexcept;
  ~PagedKv() override;

  std::int64_t length() const override { return static_cast<std::int64_t>(length_); }
  const kernels::KvLayout& layout() const override { return pool_.layout(); }
  void reserve(kernels::Stream& stream, std::uint64_t count) override;
  void append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k, kernels::DeviceTensor v) override;
  std::span<const kernels::KvRun> segments(std::uint32_t layer, std::uint64_t count) override;
  Mass mass(std::uint32_t layer) override;
  std::int64_t far_distance() const override;
  void append_raw(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                  kernels::DeviceTensor v) override;
  void choose(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q) override;
  void commit(std::uint64_t count) override;

  // Another sequence with the same past; the blocks of that past are shared.
  std::unique_ptr<PagedKv> fork() const;
  // Forgets everything after the first `length` tokens. Throws Error, and changes nothing, when what the next token
  // would attend to was forgotten by the policy.
  void truncate(std::uint64_t length);
  // Blocks that reserve(count) would have to allocate.
  std::uint64_t blocks_needed(std::uint64_t count) const;
  std::uint32_t layers() const { return static_cast<std::uint32_t>(addresses_.size()); }
  // In order; a block the policy has forgotten is empty.
  const std::vector<BlockRef>& blocks() const { return blocks_; }
  std::span<void* const> addresses(std::uint32_t layer) const { return addresses_[layer]; }
  // What the policy remembers beside its window; null for most policies.
  const ContextMemory* memory() const { return memory_.get(); }

 private:
  void set_block(std::size_t index, BlockRef block);
  std::uint64_t blocks_for(std::uint64_t tokens) const;
  // Whether block `index` can be written as it is: it is there, and nobody else holds it.
  bool writable(std::size_t index) const;

  BlockPool& pool_;
  std::shared_ptr<const KvPolicy> policy_;
  std::uint64_t length_ = 0;
  std::vector<BlockRef> blocks_;
  std::vector<std::vector<void*>> addresses_;  // [layer][block]
  std::vector<kernels::KvRun> runs_;
  std::unique_ptr<ContextMemory> memory_;  // may be null
  kernels::Stream* stream_ = nullptr;      // of the pass at hand, for what commit() moves
};

}  // namespace lathe::cache
