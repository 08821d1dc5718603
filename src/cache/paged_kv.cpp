#include "cache/paged_kv.h"

#include <utility>

namespace lathe::cache {

PagedKv::PagedKv(BlockPool& pool, std::shared_ptr<const KvPolicy> policy, std::vector<BlockRef> prefix)
    : pool_(pool), policy_(std::move(policy)), addresses_(pool.n_layers()) {
  for (BlockRef& block : prefix) set_block(blocks_.size(), std::move(block));
  length_ = blocks_.size() * pool_.layout().block_tokens;
}

void PagedKv::set_block(std::size_t index, BlockRef block) {
  if (index == blocks_.size()) {
    blocks_.emplace_back();
    for (auto& layer : addresses_) layer.push_back(nullptr);
  }
  for (std::uint32_t layer = 0; layer < pool_.n_layers(); ++layer)
    addresses_[layer][index] = block ? block.address(layer) : nullptr;
  blocks_[index] = std::move(block);
}

std::uint64_t PagedKv::blocks_needed(std::uint64_t count) const {
  const std::uint64_t tokens = pool_.layout().block_tokens;
  const std::uint64_t wanted = (length_ + count + tokens - 1) / tokens;
  const std::uint64_t missing = wanted > blocks_.size() ? wanted - blocks_.size() : 0;
  const bool copy = length_ % tokens != 0 && blocks_[length_ / tokens].shared();
  return missing + (copy ? 1 : 0);
}

void PagedKv::reserve(kernels::Stream& stream, std::uint64_t count) {
  const std::uint64_t tokens = pool_.layout().block_tokens;
  const std::uint64_t wanted = (length_ + count + tokens - 1) / tokens;
  // Allocate first, install afterwards: a failure half-way leaves the sequence as it was.
  BlockRef own;
  const std::size_t partial = length_ / tokens;
  if (length_ % tokens != 0 && blocks_[partial].shared()) own = pool_.copy_of(stream, blocks_[partial]);
  std::vector<BlockRef> fresh;
  for (std::size_t i = blocks_.size(); i < wanted; ++i) fresh.push_back(pool_.allocate());
  if (own) set_block(partial, std::move(own));
  for (BlockRef& block : fresh) set_block(blocks_.size(), std::move(block));
}

void PagedKv::append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k, kernels::DeviceTensor v) {
  pool_.backend().kv_append(stream, layout(), addresses_[layer], length_, k, v);
}

std::span<const kernels::KvRun> PagedKv::segments(std::uint32_t layer, std::uint64_t count) {
  runs_.clear();
  for (const SlotRange& range : policy_->visible(length_, count)) {
    runs_.push_back({addresses_[layer], range.begin, range.end, static_cast<std::int64_t>(range.begin)});
  }
  return runs_;
}

void PagedKv::commit(std::uint64_t count) {
  length_ += count;
  const std::uint64_t tokens = pool_.layout().block_tokens;
  const SlotRange forgotten = policy_->forgotten(length_);
  for (std::uint64_t block = (forgotten.begin + tokens - 1) / tokens; (block + 1) * tokens <= forgotten.end; ++block) {
    if (blocks_[block]) set_block(block, {});
  }
}

std::unique_ptr<PagedKv> PagedKv::fork() const {
  auto copy = std::make_unique<PagedKv>(pool_, policy_, blocks_);
  copy->length_ = length_;
  return copy;
}

void PagedKv::truncate(std::uint64_t length) {
  if (length >= length_) return;
  length_ = length;
  const std::uint64_t tokens = pool_.layout().block_tokens;
  const std::size_t keep = (length + tokens - 1) / tokens;
  blocks_.resize(keep);
  for (auto& layer : addresses_) layer.resize(keep);
}

}  // namespace lathe::cache
