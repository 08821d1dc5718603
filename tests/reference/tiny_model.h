// Seeded models of any architecture and codec, made on the spot, and the executor around them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/weights.h"
#include "cache/paged_kv.h"
#include "cache/source_kv.h"
#include "model/forward.h"
#include "reference/reference_model.h"

namespace lathe::test {

// A small Llama: 2 layers, width 64, 4 heads sharing 2 KV heads of 16, vocabulary 96. Tests change what they are about.
arch::Architecture tiny_llama();
// A small GPT-2: layer norms, biases, learned positions, fused qkv, tied head.
arch::Architecture tiny_gpt2();

struct TinyModel {
  arch::Architecture architecture;
  arch::Weights weights;
  NamedFloats decoded;  // what the packed weights really hold
};

// Matrices are packed with `codec` where their columns divide into its blocks, F32 otherwise; vectors are F32.
TinyModel make_tiny_model(const arch::Architecture& architecture, std::string_view codec = "F32",
                          std::uint64_t seed = 1);

// Decoded floats of any weights, for the reference.
NamedFloats decode(const arch::Weights& weights);

std::vector<std::int32_t> random_ids(std::size_t count, std::uint32_t vocab, std::uint64_t seed);

struct ExecutorOptions {
  kernels::KvCodec kv = kernels::KvCodec::kF32;
  std::uint32_t max_rows = 128;
  std::uint32_t context = 256;
  std::uint32_t block_tokens = 16;
  std::uint64_t kv_bytes = 16 << 20;
  std::string policy = "full";
};

// A model on a backend with a forward context and a pool of KV blocks.
class Executor {
 public:
  Executor(const arch::Architecture& architecture, const arch::Weights& weights,
           std::shared_ptr<kernels::Backend> backend, const ExecutorOptions& options = {});
  Executor(const TinyModel& tiny, std::shared_ptr<kernels::Backend> backend, const ExecutorOptions& options = {})
      : Executor(tiny.architecture, tiny.weights, std::move(backend), options) {}

  const model::Model& model() const { return *model_; }
  model::ForwardContext& forward() { return forward_; }
  cache::BlockPool& pool() { return pool_; }
  std::unique_ptr<cache::PagedKv> sequence(std::vector<cache::BlockRef> prefix = {});
  // Source texts through an encoder-decoder model's encoder, in one pass.
  std::vector<std::shared_ptr<const cache::SourceKv>> encode(const std::vector<std::vector<std::int32_t>>& texts);

  // Appends `ids` to `state` in passes of `chunk` rows and returns the logits of each, [ids, vocab].
  std::vector<float> logits(cache::PagedKv& state, std::span<const std::int32_t> ids, std::size_t chunk = 64,
                            std::span<const model::Adapter* const> adapters = {},
                            const model::SourceState* source = nullptr);
  // The same from an empty state.
  std::vector<float> logits(std::span<const std::int32_t> ids, std::size_t chunk = 64);

 private:
  std::shared_ptr<model::Model> model_;
  model::ForwardContext forward_;
  std::unique_ptr<model::ForwardContext> encoder_;  // null without one
  cache::BlockPool pool_;
  std::shared_ptr<const cache::KvPolicy> policy_;
};

std::shared_ptr<kernels::Backend> cpu(int threads = 1, std::string kernel = "auto");

// The largest |a - b| over the largest |b - mean of b|: an error relative to the range of the values.
double relative_error(std::span<const float> a, std::span<const double> b);

}  // namespace lathe::test
