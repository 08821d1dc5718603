// Gemma 1 to 3 (Gemma Team 2024, 2024, 2025): embeddings are multiplied by the square root of the width, gains are
// stored less 1 and the feed-forward gate is a tanh GELU. Gemma 2 adds norms after each branch, soft caps and a window
// on every second layer; Gemma 3 drops the caps, normalises queries and keys, and has a window on five layers of six,
// which rotate with a base of their own.
#include <cmath>

#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

std::vector<NameRule> gemma_names() {
  std::vector<NameRule> names = llama_names();
  for (NameRule& rule : names) {
    if (rule.canonical.ends_with("norm.weight")) rule.storage = Storage::kGainLessOne;
  }
  return names;
}

// Gemma 2 and 3 call the feed-forward's own norm what others call the one after attention.
std::vector<NameRule> gemma2_names() {
  std::vector<NameRule> names = gemma_names();
  for (NameRule& rule : names) {
    if (rule.canonical == "blk.{}.ffn_norm.weight")
      rule.hugging_face = "model.layers.{}.pre_feedforward_layernorm.weight";
  }
  names.push_back(
      {"blk.{}.post_attention_norm.weight", "model.layers.{}.post_attention_layernorm.weight", Storage::kGainLessOne});
  names.push_back(
      {"blk.{}.post_ffw_norm.weight", "model.layers.{}.post_feedforward_layernorm.weight", Storage::kGainLessOne});
  return names;
}

// Configurations say "gelu" where the models were trained with its tanh form, so the function is not read.
std::vector<Field> gemma_fields(double vocabulary) {
  return {
      {"hidden_size", ref<&Architecture::width>},
      {"intermediate_size", ref<&Architecture::ffn_width>},
      {"num_hidden_layers", ref<&Architecture::n_layers>},
      {"num_attention_heads", ref<&Architecture::n_heads>},
      {"num_key_value_heads", ref<&Architecture::n_kv_heads>, heads_of},
      {"head_dim", ref<&Architecture::head_dim>, 256.0},
      {"vocab_size", ref<&Architecture::vocab_size>, vocabulary},
      {"max_position_embeddings", ref<&Architecture::context_length>, 8192.0},
      {"rms_norm_eps", ref<&Architecture::norm_eps>, 1e-6},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 1.0},
      {"attention_bias", ref<&Architecture::attention_bias>, 0.0},
      {"attention_bias", ref<&Architecture::output_bias>, 0.0},
  };
}

void scale_embedding(Architecture& a) { a.embedding_scale = std::sqrt(static_cast<float>(a.width)); }

float scale_of(double query_pre_attn_scalar) { return static_cast<float>(1 / std::sqrt(query_pre_attn_scalar)); }

// Scores are divided by the root of a number of their own; 0 stands for the usual one, the size of a head.
void read_scale(const Json& config, Architecture& a, const std::string& where) {
  const double scalar = json_get_or<double>(config, "query_pre_attn_scalar", 256, where);
  if (!(scalar > 0)) fail(where, "\"query_pre_attn_scalar\" is {}", scalar);
  a.attention_scale = scalar == a.head_dim ? 0 : scale_of(scalar);
}

void write_scale(const Architecture& a, Json& config) {
  double scalar = a.head_dim;
  if (a.attention_scale > 0) scalar = 1 / (double{a.attention_scale} * a.attention_scale);
  // Whole numbers in every published model; keep them whole.
  const double whole = std::round(scalar);
  if (scale_of(whole) == a.attention_scale || a.attention_scale == 0) {
    config["query_pre_attn_scalar"] = static_cast<std::int64_t>(whole);
  } else {
    config["query_pre_attn_scalar"] = scalar;
  }
}

// GGUF files do not say the scale: the models of this depth divide by the width of a head as if heads made up the
// width.
void scale_of_27b(Architecture& a, std::uint32_t layers) {
  if (a.n_layers != layers || a.attention_scale > 0 || a.n_heads == 0 || a.width < a.n_heads) return;
  const std::uint32_t divided = a.width / a.n_heads;
  if (divided != a.head_dim) a.attention_scale = scale_of(divided);
}

}  // namespace

Family gemma_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "gemma";
  family.hf_class = "GemmaForCausalLM";
  Architecture& a = family.defaults;
  a.norm_eps = 1e-6f;
  a.activation = ActivationKind::kGeluTanh;
  a.tied_embeddings = true;
  family.names = gemma_names();
  family.fields = gemma_fields(256000);
  family.settle = scale_embedding;
  // Heads that do not make up the width, as in all of them.
  family.shrink = [](Architecture& arch) { arch.head_dim = 48; };
  return family;
}

Family gemma2_family() {
  Family family = gemma_family();
  family.name = family.gguf = family.hf_model_type = "gemma2";
  family.hf_class = "Gemma2ForCausalLM";
  Architecture& a = family.defaults;
  a.post_norms = true;
  a.window = 4096;
  a.attention_softcap = 50, a.logit_softcap = 30;
  family.names = gemma2_names();
  family.fields =
      joined(gemma_fields(256000), {{"sliding_window", ref<&Architecture::window>, 4096.0},
                                    {"attn_logit_softcapping", ref<&Architecture::attention_softcap>, None{}},
                                    {"final_logit_softcapping", ref<&Architecture::logit_softcap>, None{}}});
  family.read_hf = [](const Json& config, Architecture& arch, const std::string& where) {
    read_scale(config, arch, where);
    read_layer_types(config, arch, where);
  };
  family.write_hf = [](const Architecture& arch, Json& config) {
    write_scale(arch, config);
    if (arch.window > 0) write_layer_types(arch, config);
  };
  family.settle = [](Architecture& arch) {
    scale_embedding(arch);
    scale_of_27b(arch, 46);
    alternate_windows(arch, 2);
  };
  family.shrink = [](Architecture& arch) { arch.head_dim = 48, arch.window = 16; };
  return family;
}

Family gemma3_family() {
  Family family = gemma_family();
  family.name = family.gguf = "gemma3";
  family.hf_model_type = "gemma3_text";
  family.hf_class = "Gemma3ForCausalLM";
  Architecture& a = family.defaults;
  a.post_norms = a.qk_norm = true;
  a.rope_theta = 1000000;
  a.window_rope_theta = 10000;
  family.names = gemma2_names();
  family.fields =
      joined(gemma_fields(262208),
             {{"sliding_window", ref<&Architecture::window>, 4096.0},
              {"rope_local_base_freq", ref<&Architecture::window_rope_theta>, 10000.0, {}, "rope.freq_base_swa"},
              {"final_logit_softcapping", ref<&Architecture::logit_softcap>, None{}}});
  family.read_hf = [](const Json& config, Architecture& arch, const std::string& where) {
    read_scale(config, arch, where);
    if (!read_layer_types(config, arch, where)) {
      const auto period = json_get_or<std::uint32_t>(config, "sliding_window_pattern", 6, where);
      if (period == 0) fail(where, "\"sliding_window_pattern\" is 0");
      alternate_windows(arch, period);
    }
  };
  family.write_hf = [](const Architecture& arch, Json& config) {
    write_scale(arch, config);
    if (arch.window > 0) write_layer_types(arch, config);
  };
  family.settle = [](Architecture& arch) {
    scale_embedding(arch);
    scale_of_27b(arch, 62);
    alternate_windows(arch, 6);
  };
  family.shrink = [](Architecture& arch) { arch.n_layers = 7, arch.head_dim = 48, arch.window = 16; };
  return family;
}

}  // namespace lathe::arch
