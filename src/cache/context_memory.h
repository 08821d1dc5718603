// The distant past of a sequence as memory (InfLLM, Xiao et al. 2024, section 3): what has left the window is cut into
// blocks, each known by a vector made of the keys that later tokens attended to most; of them a query is shown a few.
// Distant tokens, the first ones of the sequence among them, all count as one window away, so that no position is
// beyond what the model was trained on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/kv_policy.h"
#include "cache/paged_kv.h"

namespace lathe::cache {

// Throws UsageError for sizes that do not divide into a pool's blocks of `block_tokens`.
void require_whole_blocks(const MemoryOptions& options, std::uint64_t block_tokens);

class ContextMemory {
 public:
  // Throws UsageError for sizes that do not divide into the pool's blocks.
  ContextMemory(BlockPool& pool, const MemoryOptions& options);

  const MemoryOptions& options() const { return options_; }
  std::uint64_t blocks_needed(std::uint64_t count) const { return tokens_.blocks_needed(count); }
  void reserve(kernels::Stream& stream, std::uint64_t count);
  // Keys from before RoPE, and values.
  void append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k, kernels::DeviceTensor v);
  // Picks the blocks that `layer` shows to these queries, [rows, n_heads * k_dim], rotated to the window's length.
  void choose(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q);
  // Appends what `count` new queries are shown beside the window.
  void add_runs(std::uint32_t layer, std::uint64_t count, std::vector<kernels::KvRun>& runs) const;
  // Where the attention to the window's slots, from slot `recent` on, is added up.
  model::SequenceState::Mass mass(std::uint32_t layer, std::uint64_t recent);
  void commit(kernels::Stream& stream, std::uint64_t count);

  // Blocks made so far, and those that `layer` was shown last, in order of age.
  std::uint64_t size() const { return size_; }
  std::span<const std::uint32_t> chosen(std::uint32_t layer) const { return layers_[layer].chosen; }
  // All of the sequence's tokens, with keys from before RoPE.
  const PagedKv& tokens() const { return tokens_; }
  // The first token of block `index`; it has options().block.
  std::uint64_t first_token(std::uint64_t index) const { return options_.sinks + index * options_.block; }

 private:
  struct Layer {
    kernels::DeviceBuffer mass;   // [n_heads][columns_]: what each token from mass_begin_ on has received
    std::vector<float> known_by;  // [blocks][n_heads * k_dim]
    std::vector<std::uint32_t> chosen;
    std::vector<void*> addresses;         // of the chosen blocks' pool blocks
    std::vector<std::uint32_t> resident;  // blocks that have not left memory, the most recently shown last
  };
  std::span<void* const> addresses(std::uint32_t layer, std::uint32_t index) const;
  void keep(std::uint32_t layer, std::span<const std::uint32_t> blocks);
  void make_block(kernels::Stream& stream);
  void know(kernels::Stream& stream, std::uint32_t layer);
  void move_mass(kernels::Stream& stream);

  BlockPool& pool_;
  MemoryOptions options_;
  PagedKv tokens_;  // all of them, keys from before RoPE
  std::vector<Layer> layers_;
  std::uint64_t size_ = 0;        // blocks
  std::uint64_t columns_;         // tokens that mass has room for
  std::uint64_t mass_begin_ = 0;  // token of its first column
  std::uint32_t n_heads_ = 0;     // known from the first queries on
};

}  // namespace lathe::cache
