#include "cache/block_pool.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace lathe::cache {
namespace {

// Memory is asked for in slabs of about this size, so that a short chat does not take what a long one needs.
constexpr std::uint64_t kSlabBytes = 8 << 20;

}  // namespace

BlockRef::BlockRef(const BlockRef& other) : pool_(other.pool_), index_(other.index_) {
  if (pool_ != nullptr) ++pool_->references_[index_];
}

BlockRef::BlockRef(BlockRef&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), index_(other.index_) {}

BlockRef& BlockRef::operator=(BlockRef other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(index_, other.index_);
  return *this;
}

BlockRef::~BlockRef() {
  if (pool_ == nullptr || --pool_->references_[index_] > 0) return;
  pool_->free_.push_back(index_);  // never reallocates: grow() reserved room for every block
  --pool_->used_blocks_;
}

bool BlockRef::shared() const { return pool_ != nullptr && pool_->references_[index_] > 1; }

void* BlockRef::address(std::uint32_t layer) const { return pool_->address(index_, layer); }

BlockPool::BlockPool(std::shared_ptr<kernels::Backend> backend, const kernels::KvLayout& layout, std::uint32_t n_layers,
                     std::uint64_t budget, std::filesystem::path folder)
    : backend_(std::move(backend)),
      layout_(layout),
      n_layers_(n_layers),
      folder_(std::move(folder)),
      layer_bytes_(backend_->kv_block_bytes(layout)) {
  if (block_bytes() == 0) fail("KV cache", "a block of {} layers holds nothing", n_layers);
  total_blocks_ = std::min<std::uint64_t>(budget / block_bytes(), std::numeric_limits<std::uint32_t>::max());
  if (total_blocks_ == 0) {
    throw Error(fmt::format("a KV budget of {} bytes holds not even one block of {} bytes", budget, block_bytes()),
                "KV cache", "raise the budget");
  }
  slab_blocks_ = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(kSlabBytes / block_bytes(), 1, total_blocks_));
}

BlockPool::~BlockPool() = default;

void* BlockPool::address(std::uint32_t index, std::uint32_t layer) const {
  char* slab = static_cast<char*>(slabs_[index / slab_blocks_].data());
  return slab + (std::uint64_t{index % slab_blocks_} * n_layers_ + layer) * layer_bytes_;
}

void BlockPool::grow() {
  const auto first = static_cast<std::uint32_t>(references_.size());
  if (first >= total_blocks_) {
    throw OutOfBlocks(fmt::format("all {} KV blocks are in use", total_blocks_), "KV cache",
                      "use a shorter context, fewer sequences or a larger budget");
  }
  const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(slab_blocks_, total_blocks_ - first));
  const std::uint64_t bytes = count * block_bytes();
  kernels::DeviceBuffer slab = folder_.empty() ? backend_->allocate(bytes) : backend_->allocate_in_file(folder_, bytes);
  free_.reserve(first + count);
  references_.reserve(first + count);
  slabs_.push_back(std::move(slab));  // from here on nothing throws
  references_.resize(first + count, 0);
  for (std::uint32_t i = count; i > 0; --i) free_.push_back(first + i - 1);
}

BlockRef BlockPool::allocate() {
  if (free_.empty()) grow();
  const std::uint32_t index = free_.back();
  free_.pop_back();
  references_[index] = 1;
  ++used_blocks_;
  return BlockRef(this, index);
}

BlockRef BlockPool::copy_of(kernels::Stream& stream, const BlockRef& source) {
  BlockRef copy = allocate();
  backend_->copy(stream, copy.address(0), source.address(0), block_bytes());
  return copy;
}

}  // namespace lathe::cache
