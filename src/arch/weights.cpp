#include "arch/weights.h"

#include <set>

#include "base/error.h"

namespace lathe::arch {

void Weights::add(PackedTensor tensor) {
  const std::string name = tensor.name;
  if (!tensors_.emplace(name, std::move(tensor)).second) fail(name, "this tensor appears twice");
}

void Weights::remove(std::string_view name) {
  if (const auto it = tensors_.find(name); it != tensors_.end()) tensors_.erase(it);
}

const PackedTensor* Weights::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

const PackedTensor& Weights::at(std::string_view name) const {
  if (const PackedTensor* tensor = find(name)) return *tensor;
  fail("", "tensor \"{}\" is missing", name);
}

std::uint64_t Weights::parameters() const {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor.shape.elements();
  return total;
}

std::uint64_t Weights::bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor.bytes();
  return total;
}

std::vector<WeightSpec> weight_schema(const Architecture& a) {
  std::vector<WeightSpec> schema;
  const std::uint64_t width = a.width, q = a.q_width(), k = a.k_width(), v = a.v_width(), ffn = a.ffn_width;
  const auto matrix = [&](const std::string& name, std::uint64_t out, std::uint64_t in, bool bias) {
    schema.push_back({name + ".weight", Shape{out, in}});
    if (bias) schema.push_back({name + ".bias", Shape{out}});
  };
  const auto norm = [&](const std::string& name, std::uint64_t size, bool bias) {
    schema.push_back({name + ".weight", Shape{size}});
    if (bias) schema.push_back({name + ".bias", Shape{size}});
  };
  const auto matrices = [&](const std::string& name, std::uint32_t count, std::uint64_t out, std::uint64_t in,
                            bool bias) {
    for (std::uint32_t i = 0; i < count; ++i) matrix(fmt::format("{}.{}", name, i), out, in, bias);
  };
  const auto attention = [&](const std::string& block) {
    if (a.mla.kv_rank > 0) {
      const std::uint64_t rank = a.mla.kv_rank, rotated = a.rotary_dim, plain = a.head_dim - rotated;
      if (a.mla.q_rank > 0) {
        matrix(block + "attn_q_a", a.mla.q_rank, width, a.attention_bias);
        norm(block + "attn_q_a_norm", a.mla.q_rank, false);
      }
      matrix(block + (a.mla.q_rank > 0 ? "attn_q_b" : "attn_q"), q, a.mla.q_rank > 0 ? a.mla.q_rank : width, false);
      matrix(block + "attn_kv_a_mqa", rank + rotated, width, a.attention_bias);
      norm(block + "attn_kv_a_norm", rank, false);
      matrices(block + "attn_k_b", a.n_heads, rank, plain, false);
      matrices(block + "attn_v_b", a.n_heads, a.v_head_dim, rank, false);
    } else if (a.fused_qkv) {
      matrix(block + "attn_qkv", q + k + v, width, a.attention_bias);
    } else {
      matrix(block + "attn_q", q, width, a.attention_bias);
      matrix(block + "attn_k", k, width, a.attention_bias);
      matrix(block + "attn_v", v, width, a.attention_bias);
    }
    if (a.qk_norm) {
      norm(block + "attn_q_norm", a.head_dim, false);
      norm(block + "attn_k_norm", a.head_dim, false);
    }
    if (a.attention_sinks) norm(block + "attn_sinks", a.n_heads, false);
    if (a.sub_norms) norm(block + "attn_sub_norm", a.n_heads * std::uint64_t{a.v_head_dim}, a.norm_bias);
    matrix(block + "attn_output", width, a.n_heads * std::uint64_t{a.v_head_dim}, a.output_bias);
  };
  const auto experts = [&](const std::string& block) {
    const MixtureOfExperts& moe = a.moe;
    matrix(block + "ffn_gate_inp", moe.n_experts, width, moe.router_bias);
    if (moe.correction_bias) schema.push_back({block + "exp_probs_b.bias", Shape{moe.n_experts}});
    matrices(block + "ffn_gate", moe.n_experts, moe.ffn_width, width, moe.expert_bias);
    matrices(block + "ffn_up", moe.n_experts, moe.ffn_width, width, moe.expert_bias);
    matrices(block + "ffn_down", moe.n_experts, width, moe.ffn_width, moe.expert_bias);
    if (moe.shared_ffn_width == 0) return;
    matrix(block + "ffn_gate_shexp", moe.shared_ffn_width, width, false);
    matrix(block + "ffn_up_shexp", moe.shared_ffn_width, width, false);
    matrix(block + "ffn_down_shexp", width, moe.shared_ffn_width, false);
    if (moe.shared_gate) matrix(block + "ffn_gate_inp_shexp", 1, width, false);
  };
  const auto feed_forward = [&](const std::string& block) {
    if (a.gated_ffn && !a.fused_gate_up) matrix(block + "ffn_gate", ffn, width, a.ffn_bias);
    matrix(block + "ffn_up", a.fused_gate_up ? 2 * ffn : ffn, width, a.ffn_bias);
    if (a.sub_norms) norm(block + "ffn_sub_norm", ffn, a.norm_bias);
    matrix(block + "ffn_down", width, ffn, a.ffn_bias);
  };
  const bool relative = a.position == PositionKind::kRelative;
  matrix("token_embd", a.vocab_size, width, false);
  if (a.token_types > 0) matrix("token_types", a.token_types, width, false);
  if (a.embedding_norm) norm("token_embd_norm", width, a.norm_bias);
  if (a.position == PositionKind::kLearned) {
    matrix("position_embd", std::uint64_t{a.context_length} + a.position_offset, width, false);
  }
  if (a.encoder.n_layers > 0) {
    if (a.encoder.vocab_size > 0) matrix("enc.token_embd", a.encoder.vocab_size, width, false);
    for (std::uint32_t layer = 0; layer < a.encoder.n_layers; ++layer) {
      const std::string block = fmt::format("enc.blk.{}.", layer);
      norm(block + "attn_norm", width, a.norm_bias);
      attention(block);
      if (relative && layer == 0) matrix(block + "attn_rel_b", a.relative.buckets, a.n_heads, false);
      norm(block + "ffn_norm", width, a.norm_bias);
      feed_forward(block);
    }
    norm("enc.output_norm", width, a.norm_bias);
  }
  const std::string side = a.encoder.n_layers > 0 ? "dec." : "";
  for (std::uint32_t layer = 0; layer < a.n_layers; ++layer) {
    const std::string block = fmt::format("{}blk.{}.", side, layer);
    if (!a.stream_norms) norm(block + "attn_norm", width, a.norm_bias);
    attention(block);
    if (relative && layer == 0) matrix(block + "attn_rel_b", a.relative.buckets, a.n_heads, false);
    if (a.post_norms) norm(block + "post_attention_norm", width, a.norm_bias);
    if (a.encoder.n_layers > 0) {
      norm(block + "cross_attn_norm", width, a.norm_bias);
      matrix(block + "cross_attn_q", q, width, a.attention_bias);
      matrix(block + "cross_attn_k", k, width, a.attention_bias);
      matrix(block + "cross_attn_v", v, width, a.attention_bias);
      matrix(block + "cross_attn_output", width, a.n_heads * std::uint64_t{a.v_head_dim}, a.output_bias);
    }
    if (a.stream_norms) norm(block + "attn_output_norm", width, a.norm_bias);
    if (a.ffn_norm && !a.stream_norms) norm(block + "ffn_norm", width, a.norm_bias);
    if (a.layer_has_experts(layer)) {
      experts(block);
    } else {
      feed_forward(block);
    }
    if (a.post_norms) norm(block + "post_ffw_norm", width, a.norm_bias);
    if (a.stream_norms) norm(block + "layer_output_norm", width, a.norm_bias);
  }
  if (!a.stream_norms) norm(side + "output_norm", width, a.norm_bias);
  if (a.output_head && !a.tied_embeddings) matrix("output", a.vocab_size, width, a.head_bias);
  return schema;
}

std::vector<std::string> check_weights(const Architecture& architecture, const Weights& weights,
                                       std::string_view where) {
  std::set<std::string, std::less<>> expected;
  for (const WeightSpec& spec : weight_schema(architecture)) {
    const PackedTensor* tensor = weights.find(spec.name);
    if (tensor == nullptr) fail(where, "tensor \"{}\" is missing", spec.name);
    if (tensor->shape != spec.shape) {
      fail(where, "tensor \"{}\" has shape {}, expected {}", spec.name, tensor->shape.text(), spec.shape.text());
    }
    expected.insert(spec.name);
  }
  std::vector<std::string> extra;
  for (const auto& [name, tensor] : weights.all()) {
    if (!expected.contains(name)) extra.push_back(name);
  }
  return extra;
}

}  // namespace lathe::arch
