// The Transformer as it was first published (Vaswani et al. 2017), with norms before the branches as its makers soon
// had them (tensor2tensor, OpenNMT): an encoder and a decoder with a vocabulary each, layer norms, biases everywhere,
// ReLU, positions of sines and cosines, embeddings scaled by the square root of the width. Models come from CTranslate2
// files (formats/ctranslate2.h); the other layouts' names are Lathe's own.
#include <cmath>

#include "arch/families/rows.h"

namespace lathe::arch {
namespace {

void add_stack(std::vector<NameRule>& names, const std::string& side, const std::string& module, bool cross) {
  const std::string block = side + ".blk.{}.", layer = module + ".layers.{}.";
  const auto add = [&](const std::string& canonical, const std::string& hugging_face) {
    add_with_bias(names, block + canonical, layer + hugging_face);
  };
  const auto attention = [&](const std::string& canonical, const std::string& hugging_face) {
    add(canonical + "_norm", hugging_face + "_layer_norm");
    add(canonical + "_q", hugging_face + ".q_proj");
    add(canonical + "_k", hugging_face + ".k_proj");
    add(canonical + "_v", hugging_face + ".v_proj");
    add(canonical + "_output", hugging_face + ".out_proj");
  };
  attention("attn", "self_attn");
  if (cross) attention("cross_attn", "encoder_attn");
  add("ffn_norm", "final_layer_norm");
  add("ffn_up", "fc1");
  add("ffn_down", "fc2");
  add_with_bias(names, side + ".output_norm", module + ".layer_norm");
}

}  // namespace

Family transformer_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "transformer";
  family.hf_class = "TransformerForConditionalGeneration";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.position = PositionKind::kSinusoidal;
  a.position_offset = 1;
  a.activation = ActivationKind::kRelu;
  a.gated_ffn = false;
  a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = a.head_bias = true;
  a.encoder.n_layers = 1;
  family.names = {{"token_embd.weight", "decoder.embed_tokens.weight"},
                  {"enc.token_embd.weight", "encoder.embed_tokens.weight"}};
  add_with_bias(family.names, "output", "lm_head");
  add_stack(family.names, "enc", "encoder", false);
  add_stack(family.names, "dec", "decoder", true);
  family.fields = {
      {"d_model", ref<&Architecture::width>},
      {"ffn_dim", ref<&Architecture::ffn_width>},
      {"encoder_layers", ref<&Architecture::encoder, &Encoder::n_layers>},
      {"decoder_layers", ref<&Architecture::n_layers>, {}, {}, "decoder_block_count"},
      {"num_attention_heads", ref<&Architecture::n_heads>},
      {"vocab_size", ref<&Architecture::encoder, &Encoder::vocab_size>, {}, {}, "encoder_vocab_size"},
      {"decoder_vocab_size", ref<&Architecture::vocab_size>},
      {"max_position_embeddings", ref<&Architecture::context_length>},
      {"decoder_start_token_id", ref<&Architecture::encoder, &Encoder::start_token>},
      {"layer_norm_epsilon", ref<&Architecture::norm_eps>, 1e-5},
  };
  family.settle = [](Architecture& arch) { arch.embedding_scale = std::sqrt(static_cast<float>(arch.width)); };
  family.shrink = [](Architecture& arch) {
    arch.n_kv_heads = 8;
    arch.encoder.n_layers = 3;
    arch.encoder.vocab_size = 4224;
    arch.encoder.start_token = 1;
  };
  return family;
}

}  // namespace lathe::arch
