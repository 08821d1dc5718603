// StableLM (Stability AI 2023, 2024): Llama with layer norms that have biases and a quarter of each head rotating. The
// second generation puts biases on q, k and v.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family stablelm_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "stablelm";
  family.hf_class = "StableLmForCausalLM";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.norm_bias = true;
  family.names = joined(llama_names(), {{"blk.{}.attn_norm.bias", "model.layers.{}.input_layernorm.bias"},
                                        {"blk.{}.ffn_norm.bias", "model.layers.{}.post_attention_layernorm.bias"},
                                        {"output_norm.bias", "model.norm.bias"}});
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 2560.0},
      {"intermediate_size", ref<&Architecture::ffn_width>, 6912.0},
      {"num_hidden_layers", ref<&Architecture::n_layers>, 32.0},
      {"num_attention_heads", ref<&Architecture::n_heads>, 32.0},
      {"num_key_value_heads", ref<&Architecture::n_kv_heads>, heads_of},
      {"vocab_size", ref<&Architecture::vocab_size>, 50304.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 4096.0},
      {"layer_norm_eps", ref<&Architecture::norm_eps>, 1e-5, "norm_eps"},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 0.0},
      {"use_qkv_bias", ref<&Architecture::attention_bias>, 0.0},
      {"use_parallel_residual", ref<&Architecture::parallel_block>, 0.0, {}, "use_parallel_residual"},
      {"hidden_act", ref<&Architecture::activation>},
  };
  family.rope_keys.part_otherwise = 0.25f;
  family.read_hf = [](const Json& config, Architecture&, const std::string& where) {
    refuse_unless(config, "qk_layernorm", false, where);
  };
  // One norm feeds both branches where they are parallel.
  family.settle = [](Architecture& arch) { arch.ffn_norm = !arch.parallel_block; };
  family.shrink = [](Architecture& arch) { arch.rotary_dim = 8; };
  return family;
}

}  // namespace lathe::arch
