// Runs calibration text through a model one layer at a time: the hidden states between two layers are kept, so that a
// layer can be looked at, replaced, and left behind.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cache/block_pool.h"
#include "cache/kv_policy.h"
#include "model/forward.h"

namespace lathe::quant {

using Sequences = std::vector<std::vector<std::int32_t>>;

class LayerRunner {
 public:
  // `sequences` must outlive it.
  LayerRunner(const arch::Architecture& architecture, std::shared_ptr<kernels::Backend> backend,
              const Sequences& sequences);

  // The layer that comes next, from 0.
  int layer() const { return layer_; }
  // Runs that layer as `model` has it over all sequences; hooks see it.
  void look(const std::shared_ptr<const model::Model>& model, model::ForwardHooks& hooks);
  // The same, and its outputs become the hidden states of the next layer.
  void advance(const std::shared_ptr<const model::Model>& model);
  // The hidden states before layer(), [tokens * width] per sequence; empty before the first.
  const std::vector<std::vector<float>>& hidden() const { return hidden_; }

 private:
  void run(const std::shared_ptr<const model::Model>& model, model::ForwardHooks* hooks, bool keep);

  const arch::Architecture architecture_;
  std::shared_ptr<kernels::Backend> backend_;
  const Sequences& sequences_;
  std::uint32_t longest_ = 0;
  std::unique_ptr<cache::BlockPool> pool_;
  std::shared_ptr<const cache::KvPolicy> policy_;
  int layer_ = 0;
  std::vector<std::vector<float>> hidden_;
};

}  // namespace lathe::quant
