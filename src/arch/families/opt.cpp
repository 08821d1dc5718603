// OPT (Zhang et al. 2022): GPT-2 with ReLU and separate q, k and v, whose learned positions begin at the table's third
// row.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family opt_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "opt";
  family.hf_class = "OPTForCausalLM";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.position = PositionKind::kLearned;
  a.position_offset = 2;
  a.activation = ActivationKind::kRelu;
  a.gated_ffn = false;
  a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  a.tied_embeddings = true;
  const std::string layer = "model.decoder.layers.{}.";
  std::vector<NameRule>& names = family.names;
  names = {{"token_embd.weight", "model.decoder.embed_tokens.weight"},
           {"position_embd.weight", "model.decoder.embed_positions.weight"},
           {"output.weight", "lm_head.weight"}};
  add_with_bias(names, "blk.{}.attn_norm", layer + "self_attn_layer_norm");
  add_with_bias(names, "blk.{}.attn_q", layer + "self_attn.q_proj");
  add_with_bias(names, "blk.{}.attn_k", layer + "self_attn.k_proj");
  add_with_bias(names, "blk.{}.attn_v", layer + "self_attn.v_proj");
  add_with_bias(names, "blk.{}.attn_output", layer + "self_attn.out_proj");
  add_with_bias(names, "blk.{}.ffn_norm", layer + "final_layer_norm");
  add_with_bias(names, "blk.{}.ffn_up", layer + "fc1");
  add_with_bias(names, "blk.{}.ffn_down", layer + "fc2");
  add_with_bias(names, "output_norm", "model.decoder.final_layer_norm");
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 768.0},
      {"ffn_dim", ref<&Architecture::ffn_width>, four_widths},
      {"num_hidden_layers", ref<&Architecture::n_layers>, 12.0},
      {"num_attention_heads", ref<&Architecture::n_heads>, 12.0},
      {"vocab_size", ref<&Architecture::vocab_size>, 50272.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 2048.0},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 1.0},
      {"activation_function", ref<&Architecture::activation>},
  };
  family.read_hf = [](const Json& config, Architecture& arch, const std::string& where) {
    refuse_unless(config, "do_layer_norm_before", true, where);
    refuse_unless(config, "enable_bias", true, where);
    refuse_unless(config, "layer_norm_elementwise_affine", true, where);
    const auto embedded = json_get_or<std::uint32_t>(config, "word_embed_proj_dim", arch.width, where);
    if (embedded != arch.width) fail(where, "embeddings of {} projected to {} are not supported", embedded, arch.width);
  };
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8; };
  return family;
}

}  // namespace lathe::arch
