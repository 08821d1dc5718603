// Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023): one layer norm feeds attention and feed-forward, which join the
// stream together; biases everywhere, the output head included; part of each head rotates.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family phi2_family() {
  Family family;
  family.name = family.gguf = "phi2";
  family.hf_model_type = "phi";
  family.hf_class = "PhiForCausalLM";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.activation = ActivationKind::kGeluTanh;
  a.gated_ffn = a.ffn_norm = false;
  a.parallel_block = true;
  a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = a.head_bias = true;
  const std::string layer = "model.layers.{}.";
  std::vector<NameRule>& names = family.names;
  names = {{"token_embd.weight", "model.embed_tokens.weight"}};
  add_with_bias(names, "blk.{}.attn_norm", layer + "input_layernorm");
  add_with_bias(names, "blk.{}.attn_q", layer + "self_attn.q_proj");
  add_with_bias(names, "blk.{}.attn_k", layer + "self_attn.k_proj");
  add_with_bias(names, "blk.{}.attn_v", layer + "self_attn.v_proj");
  add_with_bias(names, "blk.{}.attn_output", layer + "self_attn.dense");
  add_with_bias(names, "blk.{}.ffn_up", layer + "mlp.fc1");
  add_with_bias(names, "blk.{}.ffn_down", layer + "mlp.fc2");
  add_with_bias(names, "output_norm", "model.final_layernorm");
  add_with_bias(names, "output", "lm_head");
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 2048.0, "n_embd"},
      {"intermediate_size", ref<&Architecture::ffn_width>, four_widths, "n_inner"},
      {"num_hidden_layers", ref<&Architecture::n_layers>, 24.0, "n_layer"},
      {"num_attention_heads", ref<&Architecture::n_heads>, 32.0, "n_head"},
      {"num_key_value_heads", ref<&Architecture::n_kv_heads>, heads_of},
      {"vocab_size", ref<&Architecture::vocab_size>, 51200.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 2048.0, "n_positions"},
      {"layer_norm_eps", ref<&Architecture::norm_eps>, 1e-5, "layer_norm_epsilon"},
      {"hidden_act", ref<&Architecture::activation>, {}, "activation_function"},
  };
  family.rope_keys.part_otherwise = 0.5f;
  family.read_hf = [](const Json& config, Architecture&, const std::string& where) {
    refuse_unless(config, "qk_layernorm", false, where);
    refuse_unless(config, "tie_word_embeddings", false, where);
  };
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8, arch.ffn_width = 1024, arch.rotary_dim = 12; };
  return family;
}

}  // namespace lathe::arch
