#include "formats/gguf_experts.h"

#include <algorithm>

namespace lathe::formats {
namespace {

// GGUF's numbers for RouterScore: softmax, sigmoid, softmax over the chosen.
constexpr RouterScore kScores[] = {RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSoftmaxOfChosen};

}  // namespace

void read_gguf_experts(const GgufKeys& keys, const arch::Weights& weights, arch::Architecture& a) {
  arch::MixtureOfExperts& moe = a.moe;
  moe.n_experts = keys.size("expert_count").value_or(0);
  if (moe.n_experts == 0) {
    for (const auto& [name, tensor] : weights.all()) {
      if (!name.ends_with(".ffn_gate_inp.weight")) continue;
      fail(keys.file(), "tensor \"{}\" is a router, but metadata key \"{}\" says there are no experts", name,
           keys.full("expert_count"));
    }
    moe = {};
    return;
  }
  moe.top_k = keys.need("expert_used_count");
  moe.ffn_width = keys.size("expert_feed_forward_length").value_or(a.ffn_width);
  moe.first_dense_layers = keys.size("leading_dense_block_count").value_or(0);
  const std::uint32_t shared = keys.size("expert_shared_count").value_or(0);
  if (std::uint64_t{shared} * moe.ffn_width > arch::kMaxWidth) {
    fail(keys.file(), "metadata key \"{}\" is {}, and each expert is {} wide", keys.full("expert_shared_count"), shared,
         moe.ffn_width);
  }
  moe.shared_ffn_width = keys.size("expert_shared_feed_forward_length").value_or(shared * moe.ffn_width);
  moe.n_groups = std::max(1u, keys.size("expert_group_count").value_or(1));
  moe.top_groups = std::max(1u, keys.size("expert_group_used_count").value_or(1));
  moe.normalize = keys.flag("expert_weights_norm").value_or(moe.normalize);
  if (const auto scale = keys.number("expert_weights_scale"); scale && *scale != 0) moe.scale = *scale;
  if (const auto score = keys.size("expert_gating_func"); score && *score != 0) {
    if (*score > std::size(kScores)) {
      fail(keys.file(), "metadata key \"{}\" is {}", keys.full("expert_gating_func"), *score);
    }
    moe.score = kScores[*score - 1];
  }
  if (weights.all().empty()) return;
  const auto has = [&](std::string_view name) {
    return weights.find(fmt::format("blk.{}.{}", moe.first_dense_layers, name)) != nullptr;
  };
  moe.correction_bias = has("exp_probs_b.bias");
  moe.router_bias = has("ffn_gate_inp.bias");
  moe.expert_bias = has("ffn_gate.0.bias");
  moe.shared_gate = has("ffn_gate_inp_shexp.weight");
}

void write_gguf_experts(const arch::MixtureOfExperts& moe, const std::string& prefix, Metadata& metadata) {
  if (moe.n_experts == 0) return;
  const auto set = [&](std::string_view name, MetaValue value) {
    metadata.set(fmt::format("{}.{}", prefix, name), std::move(value));
  };
  set("expert_count", MetaValue::u32(moe.n_experts));
  set("expert_used_count", MetaValue::u32(moe.top_k));
  set("expert_feed_forward_length", MetaValue::u32(moe.ffn_width));
  if (moe.shared_ffn_width > 0) {
    set("expert_shared_feed_forward_length", MetaValue::u32(moe.shared_ffn_width));
    if (moe.shared_ffn_width % moe.ffn_width == 0)
      set("expert_shared_count", MetaValue::u32(moe.shared_ffn_width / moe.ffn_width));
  }
  if (moe.first_dense_layers > 0) set("leading_dense_block_count", MetaValue::u32(moe.first_dense_layers));
  if (moe.n_groups > 1) {
    set("expert_group_count", MetaValue::u32(moe.n_groups));
    set("expert_group_used_count", MetaValue::u32(moe.top_groups));
  }
  set("expert_weights_norm", MetaValue::boolean(moe.normalize));
  set("expert_weights_scale", MetaValue::f32(moe.scale));
  const auto* score = std::find(std::begin(kScores), std::end(kScores), moe.score);
  set("expert_gating_func", MetaValue::u32(static_cast<std::uint32_t>(score - std::begin(kScores)) + 1));
}

}  // namespace lathe::formats
