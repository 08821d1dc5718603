// Runs calibration text through a model one layer at a time: the hidden states between two layers are kept, so that a
// layer can be looked at, replaced, and left behind. Only that layer is prepared, and only while it runs.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arch/weights.h"
#include "cache/kv_policy.h"
#include "model/forward.h"

namespace lathe::quant {

using Sequences = std::vector<std::vector<std::int32_t>>;

class LayerRunner {
 public:
  // `sequences` must outlive it. Models with an encoder are not taken.
  LayerRunner(const arch::Architecture& architecture, std::shared_ptr<kernels::Backend> backend,
              const Sequences& sequences);

  // The layer that comes next, from 0.
  int layer() const { return layer_; }
  // Runs that layer with `weights` over all sequences; hooks see it. They are all of the model's, or at least those of
  // the layer, and of what comes before the first.
  void look(const arch::Weights& weights, model::ForwardHooks& hooks);
  // The same, and its outputs become the hidden states of the next layer.
  void advance(const arch::Weights& weights);
  // The hidden states before layer(), [tokens * width] per sequence; empty before the first.
  const std::vector<std::vector<float>>& hidden() const { return hidden_; }

 private:
  void run(const arch::Weights& weights, model::ForwardHooks* hooks, bool keep);

  const arch::Architecture architecture_;
  std::shared_ptr<kernels::Backend> backend_;
  const Sequences& sequences_;
  std::uint32_t longest_ = 0;
  std::shared_ptr<const cache::KvPolicy> policy_;
  int layer_ = 0;
  std::vector<std::vector<float>> hidden_;
};

}  // namespace lathe::quant
