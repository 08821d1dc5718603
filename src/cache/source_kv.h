// The keys and values that an encoder left for the decoder's layers, in blocks of a pool: read-only, shared by every
// sequence that has the same source text.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cache/paged_kv.h"
#include "model/sequence_state.h"

namespace lathe::cache {

class SourceKv final : public model::SourceState {
 public:
  // `encoded`: after the encoder's pass over the whole text.
  explicit SourceKv(std::unique_ptr<PagedKv> encoded);

  const kernels::KvLayout& layout() const override { return encoded_->layout(); }
  std::span<const kernels::KvRun> segments(std::uint32_t layer) const override { return {&runs_.at(layer), 1}; }

 private:
  std::unique_ptr<PagedKv> encoded_;
  std::vector<kernels::KvRun> runs_;  // by layer; their lists of blocks are encoded_'s
};

}  // namespace lathe::cache
