#include "cache/paged_kv.h"

#include <algorithm>
#include <utility>

#include "cache/context_memory.h"

namespace lathe::cache {

PagedKv::PagedKv(BlockPool& pool, std::shared_ptr<const KvPolicy> policy, std::vector<BlockRef> prefix)
    : pool_(pool), policy_(std::move(policy)), addresses_(pool.n_layers()) {
  for (BlockRef& block : prefix) set_block(blocks_.size(), std::move(block));
  length_ = blocks_.size() * pool_.layout().block_tokens;
  if (policy_->memory() == nullptr) return;
  if (length_ > 0) fail("KV cache", "the policy {} cannot begin with another sequence's past", policy_->name());
  memory_ = std::make_unique<ContextMemory>(pool, *policy_->memory());
}

PagedKv::PagedKv(PagedKv&& other) noexcept = default;
PagedKv::~PagedKv() = default;

void PagedKv::set_block(std::size_t index, BlockRef block) {
  if (index == blocks_.size()) {
    blocks_.emplace_back();
    for (auto& layer : addresses_) layer.push_back(nullptr);
  }
  for (std::uint32_t layer = 0; layer < pool_.n_layers(); ++layer)
    addresses_[layer][index] = block ? block.address(layer) : nullptr;
  blocks_[index] = std::move(block);
}

std::uint64_t PagedKv::blocks_for(std::uint64_t tokens) const {
  const std::uint64_t size = pool_.layout().block_tokens;
  return tokens / size + (tokens % size != 0 ? 1 : 0);
}

bool PagedKv::writable(std::size_t index) const {
  return index < blocks_.size() && blocks_[index] && !blocks_[index].shared();
}

std::uint64_t PagedKv::blocks_needed(std::uint64_t count) const {
  std::uint64_t needed = 0;
  const std::uint64_t wanted = blocks_for(length_ + count);
  for (std::uint64_t i = length_ / pool_.layout().block_tokens; i < wanted; ++i) needed += writable(i) ? 0 : 1;
  return needed + (memory_ ? memory_->blocks_needed(count) : 0);
}

void PagedKv::reserve(kernels::Stream& stream, std::uint64_t count) {
  stream_ = &stream;
  const std::uint64_t tokens = pool_.layout().block_tokens;
  const std::size_t first = length_ / tokens, wanted = blocks_for(length_ + count);
  // Allocate first, install afterwards: a failure half-way leaves the sequence as it was.
  std::vector<BlockRef> fresh;  // for blocks first, first + 1, ...; empty where the block at hand will do
  for (std::size_t i = first; i < wanted; ++i) {
    if (writable(i)) {
      fresh.emplace_back();
    } else {
      fresh.push_back(i * tokens < length_ ? pool_.copy_of(stream, blocks_[i]) : pool_.allocate());
    }
  }
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    if (fresh[i]) set_block(first + i, std::move(fresh[i]));
  }
  if (memory_) memory_->reserve(stream, count);
}

void PagedKv::append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k, kernels::DeviceTensor v) {
  pool_.backend().kv_append(stream, layout(), addresses_[layer], length_, k, v);
}

std::span<const kernels::KvRun> PagedKv::segments(std::uint32_t layer, std::uint64_t count) {
  runs_.clear();
  if (memory_) memory_->add_runs(layer, count, runs_);
  for (const SlotRange& range : policy_->visible(length_, count)) {
    runs_.push_back({addresses_[layer], range.begin, range.end, static_cast<std::int64_t>(range.begin), range.window});
  }
  return runs_;
}

model::SequenceState::Mass PagedKv::mass(std::uint32_t layer) {
  return memory_ ? memory_->mass(layer, policy_->visible(length_, 1).front().begin) : Mass{};
}

std::int64_t PagedKv::far_distance() const {
  return memory_ ? static_cast<std::int64_t>(memory_->options().window) - 1 : 0;
}

void PagedKv::append_raw(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                         kernels::DeviceTensor v) {
  memory_->append(stream, layer, k, v);
}

void PagedKv::choose(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q) {
  memory_->choose(stream, layer, far_q);
}

void PagedKv::commit(std::uint64_t count) {
  length_ += count;
  if (memory_) memory_->commit(*stream_, count);
  const std::uint64_t tokens = pool_.layout().block_tokens;
  const SlotRange forgotten = policy_->forgotten(length_);
  for (std::uint64_t block = (forgotten.begin + tokens - 1) / tokens; (block + 1) * tokens <= forgotten.end; ++block) {
    if (blocks_[block]) set_block(block, {});
  }
}

std::unique_ptr<PagedKv> PagedKv::fork() const {
  if (memory_) fail("KV cache", "a sequence with the policy {} cannot be continued in two ways", policy_->name());
  // Blocks reserved for tokens that were never committed stay with this sequence.
  const auto end = blocks_.begin() + static_cast<std::ptrdiff_t>(blocks_for(length_));
  auto copy = std::make_unique<PagedKv>(pool_, policy_, std::vector<BlockRef>(blocks_.begin(), end));
  copy->length_ = length_;
  return copy;
}

void PagedKv::truncate(std::uint64_t length) {
  if (length >= length_) return;
  if (memory_) fail("KV cache", "a sequence with the policy {} cannot go back", policy_->name());
  const std::uint64_t tokens = pool_.layout().block_tokens;
  for (const SlotRange& range : policy_->visible(length, 1)) {
    for (std::uint64_t block = range.begin / tokens; block * tokens < std::min(range.end, length); ++block) {
      if (!blocks_[block]) {
        fail("KV cache", "cannot go back from {} tokens to {}: the policy {} has forgotten what came before", length_,
             length, policy_->name());
      }
    }
  }
  length_ = length;
  const std::size_t keep = blocks_for(length);
  blocks_.resize(keep);
  for (auto& layer : addresses_) layer.resize(keep);
}

}  // namespace lathe::cache
