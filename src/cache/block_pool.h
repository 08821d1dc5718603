// The memory of all cached keys and values: fixed-size blocks, reference-counted, within a budget of bytes. A block
// holds `block_tokens` slots of every layer. Used by one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "kernels/backend.h"

namespace lathe::cache {

// The budget is used up and nothing can be evicted; the scheduler preempts a sequence and tries again.
class OutOfBlocks : public Error {
 public:
  using Error::Error;
};

class BlockPool;

// Shared ownership of one block; copying shares it, the last reference frees it.
class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(const BlockRef& other);
  BlockRef(BlockRef&& other) noexcept;
  BlockRef& operator=(BlockRef other) noexcept;
  ~BlockRef();

  explicit operator bool() const { return pool_ != nullptr; }
  bool shared() const;  // someone else holds it too
  void* address(std::uint32_t layer) const;

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, std::uint32_t index) : pool_(pool), index_(index) {}
  BlockPool* pool_ = nullptr;
  std::uint32_t index_ = 0;
};

class BlockPool {
 public:
  // `budget` bytes of blocks at most; memory is taken from the backend as it is needed, in files of `folder` if one is
  // given.
  BlockPool(std::shared_ptr<kernels::Backend> backend, const kernels::KvLayout& layout, std::uint32_t n_layers,
            std::uint64_t budget, std::filesystem::path folder = {});
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Throws OutOfBlocks.
  BlockRef allocate();
  // One layer's share of a block will not be read for a while.
  void page_out(void* address) {
    if (!folder_.empty()) backend_->page_out(address, layer_bytes_);
  }
  // Copies every layer of `source` into a new block.
  BlockRef copy_of(kernels::Stream& stream, const BlockRef& source);

  kernels::Backend& backend() const { return *backend_; }
  const kernels::KvLayout& layout() const { return layout_; }
  std::uint32_t n_layers() const { return n_layers_; }
  std::uint64_t block_bytes() const { return layer_bytes_ * n_layers_; }
  std::uint64_t total_blocks() const { return total_blocks_; }
  std::uint64_t used_blocks() const { return used_blocks_; }
  std::uint64_t free_blocks() const { return total_blocks_ - used_blocks_; }

 private:
  friend class BlockRef;
  void grow();
  void* address(std::uint32_t index, std::uint32_t layer) const;

  std::shared_ptr<kernels::Backend> backend_;
  kernels::KvLayout layout_;
  std::uint32_t n_layers_;
  std::filesystem::path folder_;
  std::uint64_t layer_bytes_, total_blocks_, used_blocks_ = 0;
  std::uint32_t slab_blocks_;
  std::vector<kernels::DeviceBuffer> slabs_;
  std::vector<std::uint32_t> references_;  // by block index
  std::vector<std::uint32_t> free_;
};

}  // namespace lathe::cache
