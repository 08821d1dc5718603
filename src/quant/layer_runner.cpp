#include "quant/layer_runner.h"

#include <algorithm>

#include "arch/lower.h"
#include "base/cancel.h"
#include "cache/paged_kv.h"
#include "model/model.h"

namespace lathe::quant {
namespace {

constexpr std::uint32_t kBlockTokens = 64;

}  // namespace

LayerRunner::LayerRunner(const arch::Architecture& a, std::shared_ptr<kernels::Backend> backend,
                         const Sequences& sequences)
    : architecture_(a), backend_(std::move(backend)), sequences_(sequences), policy_(cache::full_policy()) {
  for (const auto& sequence : sequences_) longest_ = std::max(longest_, static_cast<std::uint32_t>(sequence.size()));
}

void LayerRunner::run(const arch::Weights& weights, model::ForwardHooks* hooks, bool keep) {
  const auto layer = static_cast<std::uint32_t>(layer_);
  const auto model = std::make_shared<model::Model>(architecture_, weights, backend_,
                                                    model::ModelPart{layer, layer + 1, /*head=*/false});
  model::ForwardContext context(model, longest_, longest_);
  const arch::StateGroup& group = model->op_list().state.front();  // the sizes are the same in all
  const kernels::KvLayout layout{kernels::KvCodec::kF32, group.n_kv_heads, group.k_dim, group.v_dim, kBlockTokens};
  // A block has room for every layer; pages of those that do not run are never touched, if no other layer ran in it.
  const std::uint64_t blocks = longest_ / kBlockTokens + 2, layers = architecture_.n_layers;
  cache::BlockPool pool(backend_, layout, architecture_.n_layers, blocks * layers * backend_->kv_block_bytes(layout));
  std::vector<std::vector<float>> next(keep ? sequences_.size() : 0);
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    interrupt_token().check();
    cache::PagedKv state(pool, policy_);
    model::Segment segment;
    if (layer_ == 0) {
      segment.tokens = sequences_[i];
    } else {
      segment.embeddings = hidden_[i];
    }
    const model::SequenceInput input{&state, std::span(&segment, 1), keep ? model::Want::kAll : model::Want::kNothing};
    model::ForwardOptions options;
    options.first_layer = layer;
    options.last_layer = layer + 1;
    options.hidden_only = true;
    options.hooks = hooks;
    if (keep) next[i].reserve(sequences_[i].size() * architecture_.width);
    context.forward(std::span(&input, 1), options, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      next[i].insert(next[i].end(), row.begin(), row.end());
    });
  }
  if (keep) hidden_ = std::move(next);
}

void LayerRunner::look(const arch::Weights& weights, model::ForwardHooks& hooks) { run(weights, &hooks, false); }

void LayerRunner::advance(const arch::Weights& weights) {
  run(weights, nullptr, true);
  ++layer_;
}

}  // namespace lathe::quant
