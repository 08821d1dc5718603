// GPT-2 (Radford et al. 2019): layer norm, learned positions, tanh GELU, biases everywhere, a tied head. Its
// checkpoints store the four matrices of a layer as Conv1D: [in, out].
#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

void read_gpt2(const Json& config, Architecture& a, const std::string& where) {
  if (!json_get_or<bool>(config, "scale_attn_weights", true, where)) a.attention_scale = 1;
  if (json_get_or<bool>(config, "scale_attn_by_inverse_layer_idx", false, where)) {
    fail(where, "attention scaled by layer is not supported");
  }
  if (json_get_or<bool>(config, "add_cross_attention", false, where)) fail(where, "cross-attention is not supported");
}

void write_gpt2(const Architecture& a, Json& config) {
  config["n_ctx"] = a.context_length;
  if (a.attention_scale == 1) config["scale_attn_weights"] = false;
}

}  // namespace

Family gpt2_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "gpt2";
  family.hf_class = "GPT2LMHeadModel";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.position = PositionKind::kLearned;
  a.activation = ActivationKind::kGeluTanh;
  a.gated_ffn = false;
  a.fused_qkv = a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  a.tied_embeddings = true;
  family.names = {
      {"token_embd.weight", "transformer.wte.weight"},
      {"position_embd.weight", "transformer.wpe.weight"},
      {"blk.{}.attn_norm.weight", "transformer.h.{}.ln_1.weight"},
      {"blk.{}.attn_norm.bias", "transformer.h.{}.ln_1.bias"},
      {"blk.{}.attn_qkv.weight", "transformer.h.{}.attn.c_attn.weight", Storage::kTransposed},
      {"blk.{}.attn_qkv.bias", "transformer.h.{}.attn.c_attn.bias"},
      {"blk.{}.attn_output.weight", "transformer.h.{}.attn.c_proj.weight", Storage::kTransposed},
      {"blk.{}.attn_output.bias", "transformer.h.{}.attn.c_proj.bias"},
      {"blk.{}.ffn_norm.weight", "transformer.h.{}.ln_2.weight"},
      {"blk.{}.ffn_norm.bias", "transformer.h.{}.ln_2.bias"},
      {"blk.{}.ffn_up.weight", "transformer.h.{}.mlp.c_fc.weight", Storage::kTransposed},
      {"blk.{}.ffn_up.bias", "transformer.h.{}.mlp.c_fc.bias"},
      {"blk.{}.ffn_down.weight", "transformer.h.{}.mlp.c_proj.weight", Storage::kTransposed},
      {"blk.{}.ffn_down.bias", "transformer.h.{}.mlp.c_proj.bias"},
      {"output_norm.weight", "transformer.ln_f.weight"},
      {"output_norm.bias", "transformer.ln_f.bias"},
      {"output.weight", "lm_head.weight"},
  };
  // The defaults are those of GPT2Config.
  family.fields = {
      {"n_embd", ref<&Architecture::width>, 768.0, "hidden_size"},
      {"n_inner", ref<&Architecture::ffn_width>, four_widths},
      {"n_layer", ref<&Architecture::n_layers>, 12.0, "num_hidden_layers"},
      {"n_head", ref<&Architecture::n_heads>, 12.0, "num_attention_heads"},
      {"vocab_size", ref<&Architecture::vocab_size>, 50257.0},
      {"n_positions", ref<&Architecture::context_length>, 1024.0, "n_ctx"},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-5},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 1.0},
      {"activation_function", ref<&Architecture::activation>},
  };
  family.read_hf = read_gpt2;
  family.write_hf = write_gpt2;
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8; };
  return family;
}

}  // namespace lathe::arch
