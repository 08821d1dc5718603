// GPT-J (Wang and Komatsuzaki 2021): one layer norm feeds attention and feed-forward; neighbouring elements of part of
// each head rotate; biases in the feed-forward layer and the output head only.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family gptj_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "gptj";
  family.hf_class = "GPTJForCausalLM";
  family.gguf_rope_layout = family.hf_rope_layout = RopeLayout::kInterleaved;
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.activation = ActivationKind::kGeluTanh;
  a.gated_ffn = a.ffn_norm = false;
  a.parallel_block = true;
  a.ffn_bias = a.norm_bias = a.head_bias = true;
  const std::string layer = "transformer.h.{}.";
  std::vector<NameRule>& names = family.names;
  names = {{"token_embd.weight", "transformer.wte.weight"},
           {"blk.{}.attn_q.weight", layer + "attn.q_proj.weight"},
           {"blk.{}.attn_k.weight", layer + "attn.k_proj.weight"},
           {"blk.{}.attn_v.weight", layer + "attn.v_proj.weight"},
           {"blk.{}.attn_output.weight", layer + "attn.out_proj.weight"}};
  add_with_bias(names, "blk.{}.attn_norm", layer + "ln_1");
  add_with_bias(names, "blk.{}.ffn_up", layer + "mlp.fc_in");
  add_with_bias(names, "blk.{}.ffn_down", layer + "mlp.fc_out");
  add_with_bias(names, "output_norm", "transformer.ln_f");
  add_with_bias(names, "output", "lm_head");
  family.fields = {
      {"n_embd", ref<&Architecture::width>, 4096.0, "hidden_size"},
      {"n_inner", ref<&Architecture::ffn_width>, four_widths},
      {"n_layer", ref<&Architecture::n_layers>, 28.0, "num_hidden_layers"},
      {"n_head", ref<&Architecture::n_heads>, 16.0, "num_attention_heads"},
      {"vocab_size", ref<&Architecture::vocab_size>, 50400.0},
      {"n_positions", ref<&Architecture::context_length>, 2048.0, "max_position_embeddings"},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-5},
      {"activation_function", ref<&Architecture::activation>},
  };
  family.rope_keys.part = nullptr;
  family.read_hf = [](const Json& config, Architecture& arch, const std::string& where) {
    arch.rotary_dim = json_get_or<std::uint32_t>(config, "rotary_dim", arch.head_dim, where);
    refuse_unless(config, "tie_word_embeddings", false, where);
  };
  family.write_hf = [](const Architecture& arch, Json& config) {
    config["rotary_dim"] = arch.rotary_dim;
    config["tie_word_embeddings"] = false;
  };
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8, arch.ffn_width = 1024, arch.rotary_dim = 16; };
  return family;
}

}  // namespace lathe::arch
