// GPT-NeoX and Pythia (Black et al. 2022): attention and feed-forward read the same stream through norms of their own,
// unless the configuration puts one after the other; part of each head rotates; q, k and v lie head by head.
#include "arch/families/rows.h"

namespace lathe::arch {

Family gptneox_family() {
  Family family;
  family.name = family.gguf = "gptneox";
  family.hf_model_type = "gpt_neox";
  family.hf_class = "GPTNeoXForCausalLM";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.activation = ActivationKind::kGelu;
  a.gated_ffn = false;
  a.parallel_block = true;
  a.fused_qkv = a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  const std::string layer = "gpt_neox.layers.{}.";
  std::vector<NameRule>& names = family.names;
  names = {{"token_embd.weight", "gpt_neox.embed_in.weight"}, {"output.weight", "embed_out.weight"}};
  add_with_bias(names, "blk.{}.attn_norm", layer + "input_layernorm");
  add_with_bias(names, "blk.{}.attn_qkv", layer + "attention.query_key_value", Storage::kGroupedQkv);
  add_with_bias(names, "blk.{}.attn_output", layer + "attention.dense");
  add_with_bias(names, "blk.{}.ffn_norm", layer + "post_attention_layernorm");
  add_with_bias(names, "blk.{}.ffn_up", layer + "mlp.dense_h_to_4h");
  add_with_bias(names, "blk.{}.ffn_down", layer + "mlp.dense_4h_to_h");
  add_with_bias(names, "output_norm", "gpt_neox.final_layer_norm");
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 6144.0},
      {"intermediate_size", ref<&Architecture::ffn_width>, 24576.0},
      {"num_hidden_layers", ref<&Architecture::n_layers>, 44.0},
      {"num_attention_heads", ref<&Architecture::n_heads>, 64.0},
      {"vocab_size", ref<&Architecture::vocab_size>, 50432.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 2048.0},
      {"layer_norm_eps", ref<&Architecture::norm_eps>, 1e-5},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 0.0},
      {"attention_bias", ref<&Architecture::attention_bias>, 1.0},
      {"attention_bias", ref<&Architecture::output_bias>, 1.0},
      {"use_parallel_residual", ref<&Architecture::parallel_block>, 1.0, {}, "use_parallel_residual"},
      {"hidden_act", ref<&Architecture::activation>},
  };
  family.rope_keys = {"rotary_emb_base", "rotary_pct", 0.25f};
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8, arch.rotary_dim = 8; };
  return family;
}

}  // namespace lathe::arch
