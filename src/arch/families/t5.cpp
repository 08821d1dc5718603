// T5 (Raffel et al. 2020) and its later form v1.1, of which Flan-T5 was made: an encoder and a decoder
// with RMS norms and no biases but those by relative distance, and scores that are not scaled. The first form has ReLU
// and an output head that is the embedding, whose logits are divided by the square root of the width; v1.1 has a GELU
// gate and a head of its own.
#include <cmath>

#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

constexpr const char *kPlain = "relu", *kGated = "gated-gelu";

std::string feed_forward(const Json& config, const std::string& where) {
  return json_get_or<std::string>(config, "feed_forward_proj", kPlain, where);
}

void add_stack(std::vector<NameRule>& names, const std::string& side, const std::string& module, bool cross,
               bool gated) {
  const std::string block = side + ".blk.{}.", layer = module + ".block.{}.layer.";
  const auto add = [&](const std::string& canonical, const std::string& hugging_face, const std::string& gguf = {}) {
    names.push_back({block + canonical + ".weight", layer + hugging_face + ".weight", Storage::kPlain,
                     gguf.empty() ? gguf : block + gguf + ".weight"});
  };
  add("attn_norm", "0.layer_norm");
  add("attn_q", "0.SelfAttention.q");
  add("attn_k", "0.SelfAttention.k");
  add("attn_v", "0.SelfAttention.v");
  add("attn_output", "0.SelfAttention.o", "attn_o");
  add("attn_rel_b", "0.SelfAttention.relative_attention_bias");
  if (cross) {
    add("cross_attn_norm", "1.layer_norm");
    add("cross_attn_q", "1.EncDecAttention.q");
    add("cross_attn_k", "1.EncDecAttention.k");
    add("cross_attn_v", "1.EncDecAttention.v");
    add("cross_attn_output", "1.EncDecAttention.o", "cross_attn_o");
  }
  const std::string last = cross ? "2." : "1.";
  add("ffn_norm", last + "layer_norm");
  if (gated) add("ffn_gate", last + "DenseReluDense.wi_0");
  add("ffn_up", last + (gated ? "DenseReluDense.wi_1" : "DenseReluDense.wi"));
  add("ffn_down", last + "DenseReluDense.wo");
  names.push_back({side + ".output_norm.weight", module + ".final_layer_norm.weight"});
}

// `gated`: v1.1.
Family t5(bool gated) {
  Family family;
  family.name = family.gguf = family.hf_model_type = "t5";
  family.hf_class = "T5ForConditionalGeneration";
  Architecture& a = family.defaults;
  a.norm_eps = 1e-6f;
  a.position = PositionKind::kRelative;
  a.relative.buckets = 32;
  a.attention_scale = 1;
  a.activation = gated ? ActivationKind::kGeluTanh : ActivationKind::kRelu;
  a.gated_ffn = gated;
  a.tied_embeddings = !gated;
  a.encoder.n_layers = 1;
  family.names = {{"token_embd.weight", "shared.weight"}, {"output.weight", "lm_head.weight"}};
  add_stack(family.names, "enc", "encoder", false, gated);
  add_stack(family.names, "dec", "decoder", true, gated);
  family.fields = {
      {"d_model", ref<&Architecture::width>, 512.0},
      {"d_kv", ref<&Architecture::head_dim>, 64.0},
      {"d_ff", ref<&Architecture::ffn_width>, 2048.0},
      {"num_layers", ref<&Architecture::encoder, &Encoder::n_layers>, 6.0},
      {"num_decoder_layers",
       ref<&Architecture::n_layers>,
       [](const Architecture& arch) -> double { return arch.encoder.n_layers; },
       {},
       "decoder_block_count"},
      {"num_heads", ref<&Architecture::n_heads>, 8.0},
      {"relative_attention_num_buckets",
       ref<&Architecture::relative, &RelativeBias::buckets>,
       32.0,
       {},
       "attention.relative_buckets_count"},
      {"relative_attention_max_distance", ref<&Architecture::relative, &RelativeBias::max_distance>, 128.0},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-6},
      {"vocab_size", ref<&Architecture::vocab_size>, 32128.0},
      {"n_positions", ref<&Architecture::context_length>, 512.0},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 1.0},
      {"decoder_start_token_id", ref<&Architecture::encoder, &Encoder::start_token>, 0.0},
  };
  family.settle = [](Architecture& arch) {
    arch.logit_scale = arch.tied_embeddings ? 1 / std::sqrt(static_cast<float>(arch.width)) : 1;
  };
  family.read_hf = [](const Json& config, Architecture&, const std::string& where) {
    refuse_unless(config, "is_encoder_decoder", true, where);
    const std::string kind = feed_forward(config, where);
    if (kind != kPlain && kind != kGated) {
      fail(where, "\"feed_forward_proj\": \"{}\" is not supported, known are \"{}\" and \"{}\"", kind, kPlain, kGated);
    }
  };
  family.write_hf = [](const Architecture& arch, Json& config) {
    config["feed_forward_proj"] = arch.gated_ffn ? kGated : kPlain;
    config["is_encoder_decoder"] = true;
  };
  family.shrink = [](Architecture& arch) {
    arch.n_kv_heads = 8;
    arch.encoder.n_layers = 4;
  };
  return family;
}

}  // namespace

Family t5_family() { return t5(false); }

Family flan_t5_family() {
  Family family = t5(true);
  family.name = "flan-t5";
  family.gguf_mark = "enc.blk.0.ffn_gate.weight";
  family.is_hf = [](const Json& config, const std::string& where) { return feed_forward(config, where) == kGated; };
  return family;
}

}  // namespace lathe::arch
