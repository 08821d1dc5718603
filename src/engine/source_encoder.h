// The source texts of an encoder-decoder model: read once each, by the model's encoder, whatever number of sequences
// then translate them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/source_kv.h"
#include "model/forward.h"
#include "text/tokenizer.h"

namespace lathe::engine {

struct SourceText {
  std::span<const text::TokenId> ids;
  std::span<const model::Adapter* const> adapters = {};
};

// Used by one thread at a time.
class SourceEncoder {
 public:
  // `context`: tokens of a source text, and of a pass. The pool is that of the decoder's sequences.
  SourceEncoder(const model::Model& model, std::uint32_t context, cache::BlockPool& pool);

  // Throws Error for a text that can never be read.
  void check(std::span<const text::TokenId> ids) const;
  std::uint64_t blocks_needed(std::size_t tokens) const;
  // One pass; the texts have at most max_rows() tokens together. Throws OutOfBlocks.
  std::vector<std::shared_ptr<const cache::SourceKv>> encode(std::span<const SourceText> texts);
  std::shared_ptr<const cache::SourceKv> encode(const SourceText& text) { return encode(std::span(&text, 1)).front(); }

  // What every text of the decoder begins with.
  const std::vector<text::TokenId>& beginning() const { return beginning_; }
  std::uint32_t max_rows() const { return forward_.max_rows(); }
  // For hidden states of the encoder itself.
  model::ForwardContext& forward() { return forward_; }

 private:
  model::ForwardContext forward_;
  cache::BlockPool& pool_;
  std::shared_ptr<const cache::KvPolicy> policy_;
  std::vector<text::TokenId> beginning_;
};

// Null for a model without an encoder.
std::unique_ptr<SourceEncoder> make_source_encoder(const model::Model& model, std::uint32_t context,
                                                   cache::BlockPool& pool);

}  // namespace lathe::engine
