// Falcon (Almazrouei et al. 2023): attention and feed-forward read the same stream, RoPE, no biases but in the norms.
// The 7B has one KV head and one norm; the "new decoder architecture" (40B, 180B) has groups of heads and a norm for
// each branch, which GGUF files name the other way round than everybody else.
#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

constexpr const char* kNewDecoder = "new_decoder_architecture";

Family shared_falcon() {
  Family family;
  family.gguf = family.hf_model_type = "falcon";
  family.hf_class = "FalconForCausalLM";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.activation = ActivationKind::kGelu;
  a.gated_ffn = false;
  a.parallel_block = true;
  a.fused_qkv = a.norm_bias = true;
  a.tied_embeddings = true;
  const std::string layer = "transformer.h.{}.";
  family.names = {{"token_embd.weight", "transformer.word_embeddings.weight"},
                  {"blk.{}.attn_qkv.weight", layer + "self_attention.query_key_value.weight", Storage::kGroupedQkv},
                  {"blk.{}.attn_output.weight", layer + "self_attention.dense.weight"},
                  {"blk.{}.ffn_up.weight", layer + "mlp.dense_h_to_4h.weight"},
                  {"blk.{}.ffn_down.weight", layer + "mlp.dense_4h_to_h.weight"},
                  {"output.weight", "lm_head.weight"}};
  add_with_bias(family.names, "output_norm", "transformer.ln_f");
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 4544.0},
      {"ffn_hidden_size", ref<&Architecture::ffn_width>, four_widths},
      {"num_hidden_layers", ref<&Architecture::n_layers>, 32.0, "n_layer"},
      {"num_attention_heads", ref<&Architecture::n_heads>, 71.0, "n_head"},
      {"vocab_size", ref<&Architecture::vocab_size>, 65024.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 2048.0},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-5},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 1.0},
      {"activation", ref<&Architecture::activation>},
  };
  return family;
}

void refuse_others(const Json& config, const std::string& where) {
  refuse_unless(config, "alibi", false, where);
  refuse_unless(config, "bias", false, where);
  refuse_unless(config, "parallel_attn", true, where);
}

}  // namespace

Family falcon_family() {
  Family family = shared_falcon();
  family.name = "falcon";
  family.defaults.ffn_norm = false;
  add_with_bias(family.names, "blk.{}.attn_norm", "transformer.h.{}.input_layernorm");
  family.read_hf = [](const Json& config, Architecture& a, const std::string& where) {
    refuse_others(config, where);
    a.n_kv_heads = json_get_or<bool>(config, "multi_query", true, where) ? 1 : a.n_heads;
  };
  family.write_hf = [](const Architecture& a, Json& config) {
    config[kNewDecoder] = false;
    config["multi_query"] = a.n_kv_heads == 1;
    config["parallel_attn"] = true;
    config["bias"] = config["alibi"] = false;
  };
  family.shrink = [](Architecture& a) { a.n_kv_heads = 1; };
  return family;
}

Family falcon40_family() {
  Family family = shared_falcon();
  family.name = "falcon-40b";
  for (const std::string part : {".weight", ".bias"}) {
    family.names.push_back(
        {"blk.{}.attn_norm" + part, "transformer.h.{}.ln_attn" + part, Storage::kPlain, "blk.{}.attn_norm_2" + part});
    family.names.push_back(
        {"blk.{}.ffn_norm" + part, "transformer.h.{}.ln_mlp" + part, Storage::kPlain, "blk.{}.attn_norm" + part});
  }
  family.fields.push_back({"num_kv_heads", ref<&Architecture::n_kv_heads>, heads_of, "n_head_kv"});
  family.gguf_mark = "blk.0.attn_norm_2.weight";
  family.is_hf = [](const Json& config, const std::string& where) {
    return json_get_or<bool>(config, kNewDecoder, false, where);
  };
  family.read_hf = [](const Json& config, Architecture&, const std::string& where) {
    refuse_others(config, where);
    if (json_get_or<std::uint32_t>(config, "num_ln_in_parallel_attn", 2, where) != 2) {
      fail(where, "the new decoder architecture with one norm is not supported");
    }
  };
  family.write_hf = [](const Architecture&, Json& config) {
    config[kNewDecoder] = config["parallel_attn"] = true;
    config["bias"] = config["alibi"] = false;
  };
  return family;
}

}  // namespace lathe::arch
