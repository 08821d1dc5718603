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
  matrix("token_embd", a.vocab_size, width, false);
  if (a.position == PositionKind::kLearned) matrix("position_embd", a.context_length, width, false);
  for (std::uint32_t layer = 0; layer < a.n_layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    norm(block + "attn_norm", width, a.norm_bias);
    if (a.fused_qkv) {
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
    matrix(block + "attn_output", width, a.n_heads * std::uint64_t{a.v_head_dim}, a.output_bias);
    norm(block + "ffn_norm", width, a.norm_bias);
    if (a.gated_ffn) matrix(block + "ffn_gate", ffn, width, a.ffn_bias);
    matrix(block + "ffn_up", ffn, width, a.ffn_bias);
    matrix(block + "ffn_down", width, ffn, a.ffn_bias);
  }
  norm("output_norm", width, a.norm_bias);
  if (!a.tied_embeddings) matrix("output", a.vocab_size, width, false);
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
