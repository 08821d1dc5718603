#include "arch/families.h"

#include "base/error.h"

namespace lathe::arch {
namespace {

constexpr NameRule kLlamaNames[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"blk.{}.attn_norm.weight", "model.layers.{}.input_layernorm.weight"},
    {"blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight"},
    {"blk.{}.attn_k.weight", "model.layers.{}.self_attn.k_proj.weight"},
    {"blk.{}.attn_v.weight", "model.layers.{}.self_attn.v_proj.weight"},
    {"blk.{}.attn_q.bias", "model.layers.{}.self_attn.q_proj.bias"},
    {"blk.{}.attn_k.bias", "model.layers.{}.self_attn.k_proj.bias"},
    {"blk.{}.attn_v.bias", "model.layers.{}.self_attn.v_proj.bias"},
    {"blk.{}.attn_q_norm.weight", "model.layers.{}.self_attn.q_norm.weight"},
    {"blk.{}.attn_k_norm.weight", "model.layers.{}.self_attn.k_norm.weight"},
    {"blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight"},
    {"blk.{}.attn_output.bias", "model.layers.{}.self_attn.o_proj.bias"},
    {"blk.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
    {"blk.{}.ffn_gate.weight", "model.layers.{}.mlp.gate_proj.weight"},
    {"blk.{}.ffn_up.weight", "model.layers.{}.mlp.up_proj.weight"},
    {"blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight"},
    {"blk.{}.ffn_gate.bias", "model.layers.{}.mlp.gate_proj.bias"},
    {"blk.{}.ffn_up.bias", "model.layers.{}.mlp.up_proj.bias"},
    {"blk.{}.ffn_down.bias", "model.layers.{}.mlp.down_proj.bias"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

constexpr NameRule kGpt2Names[] = {
    {"token_embd.weight", "transformer.wte.weight"},
    {"position_embd.weight", "transformer.wpe.weight"},
    {"blk.{}.attn_norm.weight", "transformer.h.{}.ln_1.weight"},
    {"blk.{}.attn_norm.bias", "transformer.h.{}.ln_1.bias"},
    {"blk.{}.attn_qkv.weight", "transformer.h.{}.attn.c_attn.weight", true},
    {"blk.{}.attn_qkv.bias", "transformer.h.{}.attn.c_attn.bias"},
    {"blk.{}.attn_output.weight", "transformer.h.{}.attn.c_proj.weight", true},
    {"blk.{}.attn_output.bias", "transformer.h.{}.attn.c_proj.bias"},
    {"blk.{}.ffn_norm.weight", "transformer.h.{}.ln_2.weight"},
    {"blk.{}.ffn_norm.bias", "transformer.h.{}.ln_2.bias"},
    {"blk.{}.ffn_up.weight", "transformer.h.{}.mlp.c_fc.weight", true},
    {"blk.{}.ffn_up.bias", "transformer.h.{}.mlp.c_fc.bias"},
    {"blk.{}.ffn_down.weight", "transformer.h.{}.mlp.c_proj.weight", true},
    {"blk.{}.ffn_down.bias", "transformer.h.{}.mlp.c_proj.bias"},
    {"output_norm.weight", "transformer.ln_f.weight"},
    {"output_norm.bias", "transformer.ln_f.bias"},
    {"output.weight", "lm_head.weight"},
};

// Touvron et al. 2023: RMS norm, RoPE, SwiGLU, no biases.
Architecture llama_defaults() {
  Architecture a;
  a.family = "llama";
  return a;
}

// Radford et al. 2019: layer norm, learned positions, tanh GELU, biases everywhere, tied head.
Architecture gpt2_defaults() {
  Architecture a;
  a.family = "gpt2";
  a.norm = NormKind::kLayer;
  a.position = PositionKind::kLearned;
  a.activation = ActivationKind::kGeluTanh;
  a.gated_ffn = false;
  a.fused_qkv = a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  a.tied_embeddings = true;
  return a;
}

// Yang et al. 2024 (Qwen2): Llama with biases on q, k and v.
Architecture qwen2_defaults() {
  Architecture a = llama_defaults();
  a.family = "qwen2";
  a.attention_bias = true;
  a.norm_eps = 1e-6f;
  return a;
}

// Yang et al. 2025 (Qwen3): no biases, an RMS norm on every query and key head.
Architecture qwen3_defaults() {
  Architecture a = llama_defaults();
  a.family = "qwen3";
  a.qk_norm = true;
  a.norm_eps = 1e-6f;
  return a;
}

// Splits "a.12.b" at its first all-digit component: pattern "a.{}.b" and "12".
std::string pattern_of(std::string_view name, std::string_view& layer) {
  for (std::size_t begin = 0; begin < name.size();) {
    std::size_t end = name.find('.', begin);
    if (end == std::string_view::npos) end = name.size();
    const std::string_view component = name.substr(begin, end - begin);
    if (!component.empty() && component.find_first_not_of("0123456789") == std::string_view::npos) {
      layer = component;
      return std::string(name.substr(0, begin)) + "{}" + std::string(name.substr(end));
    }
    begin = end + 1;
  }
  return std::string(name);
}

std::string fill(std::string_view pattern, std::string_view layer) {
  const std::size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, hole)) + std::string(layer) + std::string(pattern.substr(hole + 2));
}

}  // namespace

std::span<const Family> families() {
  static const Family kFamilies[] = {
      {"llama", "llama", "LlamaForCausalLM", llama_defaults(), RopeLayout::kInterleaved, kLlamaNames},
      {"gpt2", "gpt2", "GPT2LMHeadModel", gpt2_defaults(), RopeLayout::kHalves, kGpt2Names},
      {"qwen2", "qwen2", "Qwen2ForCausalLM", qwen2_defaults(), RopeLayout::kHalves, kLlamaNames},
      {"qwen3", "qwen3", "Qwen3ForCausalLM", qwen3_defaults(), RopeLayout::kHalves, kLlamaNames},
  };
  return kFamilies;
}

const Family* find_family(std::string_view name) {
  for (const Family& family : families()) {
    if (family.name == name) return &family;
  }
  return nullptr;
}

const Family* find_family_by_hf(std::string_view model_type) {
  for (const Family& family : families()) {
    if (family.hf_model_type == model_type) return &family;
  }
  return nullptr;
}

const Family& family_named(std::string_view name, std::string_view where) {
  if (const Family* family = find_family(name)) return *family;
  std::string known;
  for (const Family& family : families()) known += (known.empty() ? "" : ", ") + std::string(family.name);
  throw Error(fmt::format("model family \"{}\" is not supported", name), std::string(where),
              "known families: " + known);
}

const NameRule* name_rule(const Family& family, std::string_view canonical) {
  std::string_view layer;
  const std::string pattern = pattern_of(canonical, layer);
  for (const NameRule& rule : family.names) {
    if (rule.canonical == pattern) return &rule;
  }
  return nullptr;
}

std::string hf_name(const Family& family, std::string_view canonical) {
  std::string_view layer;
  pattern_of(canonical, layer);
  const NameRule* rule = name_rule(family, canonical);
  return rule == nullptr ? std::string() : fill(rule->hugging_face, layer);
}

std::string canonical_name(const Family& family, std::string_view hugging_face) {
  std::string_view layer;
  const std::string pattern = pattern_of(hugging_face, layer);
  for (const NameRule& rule : family.names) {
    if (rule.hugging_face == pattern) return fill(rule.canonical, layer);
  }
  return {};
}

}  // namespace lathe::arch
