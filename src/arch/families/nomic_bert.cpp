// Nomic's BERT (Nussbaum et al. 2024): BERT with rotary positions and SwiGLU in place of learned positions and GELU, a
// fused q, k and v, and biases in the norms only.
#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

void read_nomic(const Json& config, Architecture&, const std::string& where) {
  for (const char* key : {"prenorm", "parallel_block", "rotary_emb_interleaved", "qkv_proj_bias", "mlp_fc1_bias",
                          "mlp_fc2_bias", "use_rms_norm"})
    refuse_unless(config, key, false, where);
  const auto activation = json_get_or<std::string>(config, "activation_function", "swiglu", where);
  if (activation != "swiglu") fail(where, "the activation function \"{}\" is not supported here", activation);
}

void write_nomic(const Architecture& a, Json& config) {
  config["activation_function"] = "swiglu";
  config["n_positions"] = a.context_length;
  for (const char* key : {"prenorm", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"}) config[key] = false;
}

}  // namespace

Family nomic_bert_family() {
  Family family;
  family.name = family.gguf = "nomic-bert";
  family.hf_model_type = "nomic_bert";
  family.hf_class = "NomicBertModel";
  family.rope_keys = {"rotary_emb_base", "rotary_emb_fraction", 1};
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.norm_eps = 1e-12f;
  a.rope_theta = 1000;
  a.causal = false;
  a.output_head = false;
  a.stream_norms = a.embedding_norm = a.tied_embeddings = a.norm_bias = a.fused_qkv = true;
  const std::string layer = "encoder.layers.{}.";
  family.names = {{"token_embd.weight", "embeddings.word_embeddings.weight"},
                  {"token_types.weight", "embeddings.token_type_embeddings.weight"},
                  {"blk.{}.attn_qkv.weight", layer + "attn.Wqkv.weight"},
                  {"blk.{}.attn_output.weight", layer + "attn.out_proj.weight"},
                  {"blk.{}.ffn_up.weight", layer + "mlp.fc11.weight"},
                  {"blk.{}.ffn_gate.weight", layer + "mlp.fc12.weight"},
                  {"blk.{}.ffn_down.weight", layer + "mlp.fc2.weight"}};
  add_with_bias(family.names, "token_embd_norm", "emb_ln");
  add_with_bias(family.names, "blk.{}.attn_output_norm", layer + "norm1");
  add_with_bias(family.names, "blk.{}.layer_output_norm", layer + "norm2");
  family.fields = {
      {"n_embd", ref<&Architecture::width>, 768.0},
      {"n_inner", ref<&Architecture::ffn_width>, four_widths},
      {"n_layer", ref<&Architecture::n_layers>, 12.0},
      {"n_head", ref<&Architecture::n_heads>, 12.0},
      {"vocab_size", ref<&Architecture::vocab_size>, 30522.0},
      // Longer texts are for rotary scalings that the configuration leaves to its code.
      {"max_trained_positions", ref<&Architecture::context_length>, 2048.0},
      {"type_vocab_size", ref<&Architecture::token_types>, 2.0},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-12},
  };
  family.read_hf = read_nomic;
  family.write_hf = write_nomic;
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8, arch.token_types = 2; };
  return family;
}

}  // namespace lathe::arch
