// BLOOM (BigScience 2022): ALiBi in place of positions, a norm on the embedding, q, k and v lying head by head.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family bloom_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "bloom";
  family.hf_class = "BloomForCausalLM";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.position = PositionKind::kAlibi;
  a.activation = ActivationKind::kGeluTanh;
  a.gated_ffn = false;
  a.embedding_norm = true;
  a.fused_qkv = a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  a.tied_embeddings = true;
  const std::string layer = "transformer.h.{}.";
  std::vector<NameRule>& names = family.names;
  names = {{"token_embd.weight", "transformer.word_embeddings.weight"}, {"output.weight", "lm_head.weight"}};
  add_with_bias(names, "token_embd_norm", "transformer.word_embeddings_layernorm");
  add_with_bias(names, "blk.{}.attn_norm", layer + "input_layernorm");
  add_with_bias(names, "blk.{}.attn_qkv", layer + "self_attention.query_key_value", Storage::kGroupedQkv);
  add_with_bias(names, "blk.{}.attn_output", layer + "self_attention.dense");
  add_with_bias(names, "blk.{}.ffn_norm", layer + "post_attention_layernorm");
  add_with_bias(names, "blk.{}.ffn_up", layer + "mlp.dense_h_to_4h");
  add_with_bias(names, "blk.{}.ffn_down", layer + "mlp.dense_4h_to_h");
  add_with_bias(names, "output_norm", "transformer.ln_f");
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 64.0, "n_embed"},
      {"n_inner", ref<&Architecture::ffn_width>, four_widths},
      {"n_layer", ref<&Architecture::n_layers>, 2.0, "num_hidden_layers"},
      {"n_head", ref<&Architecture::n_heads>, 8.0, "num_attention_heads"},
      {"vocab_size", ref<&Architecture::vocab_size>, 250880.0},
      {"seq_length", ref<&Architecture::context_length>, 2048.0},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-5},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 1.0},
  };
  family.read_hf = [](const Json& config, Architecture&, const std::string& where) {
    refuse_unless(config, "apply_residual_connection_post_layernorm", false, where);
  };
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8, arch.ffn_width = 1024; };
  return family;
}

}  // namespace lathe::arch
