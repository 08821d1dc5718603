// DeepSeek-V2 (DeepSeek-AI 2024a) and V3 (2024b): latent attention, a few dense layers before those with experts,
// shared experts side by side, routed ones limited to the best groups. V2 weighs by a softmax; V3 by sigmoids, with a
// bias that balances the choice only.
#include <cmath>

#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

std::vector<NameRule> deepseek_names() {
  const std::string layer = "model.layers.{}.", attention = layer + "self_attn.", mlp = layer + "mlp.";
  return joined(llama_names(), {{"blk.{}.attn_q_a.weight", attention + "q_a_proj.weight"},
                                {"blk.{}.attn_q_a.bias", attention + "q_a_proj.bias"},
                                {"blk.{}.attn_q_a_norm.weight", attention + "q_a_layernorm.weight"},
                                {"blk.{}.attn_q_b.weight", attention + "q_b_proj.weight"},
                                {"blk.{}.attn_kv_a_mqa.weight", attention + "kv_a_proj_with_mqa.weight"},
                                {"blk.{}.attn_kv_a_mqa.bias", attention + "kv_a_proj_with_mqa.bias"},
                                {"blk.{}.attn_kv_a_norm.weight", attention + "kv_a_layernorm.weight"},
                                {"blk.{}.attn_kv_b.weight", attention + "kv_b_proj.weight", Storage::kLatentKv},
                                {"blk.{}.ffn_gate_inp.weight", mlp + "gate.weight"},
                                {"blk.{}.exp_probs_b.bias", mlp + "gate.e_score_correction_bias"},
                                {"blk.{}.ffn_gate.{}.weight", mlp + "experts.{}.gate_proj.weight"},
                                {"blk.{}.ffn_up.{}.weight", mlp + "experts.{}.up_proj.weight"},
                                {"blk.{}.ffn_down.{}.weight", mlp + "experts.{}.down_proj.weight"},
                                {"blk.{}.ffn_gate_shexp.weight", mlp + "shared_experts.gate_proj.weight"},
                                {"blk.{}.ffn_up_shexp.weight", mlp + "shared_experts.up_proj.weight"},
                                {"blk.{}.ffn_down_shexp.weight", mlp + "shared_experts.down_proj.weight"}});
}

std::vector<Field> deepseek_fields() {
  return {
      {"hidden_size", ref<&Architecture::width>},
      {"intermediate_size", ref<&Architecture::ffn_width>},
      {"num_hidden_layers", ref<&Architecture::n_layers>},
      {"num_attention_heads", ref<&Architecture::n_heads>},
      {"v_head_dim", ref<&Architecture::v_head_dim>, 128.0},
      {"vocab_size", ref<&Architecture::vocab_size>, 102400.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 2048.0},
      {"rms_norm_eps", ref<&Architecture::norm_eps>, 1e-6},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 0.0},
      {"hidden_act", ref<&Architecture::activation>},
      {"attention_bias", ref<&Architecture::attention_bias>, 0.0},
      {"attention_bias", ref<&Architecture::output_bias>, 0.0},
      {"kv_lora_rank", ref<&Architecture::mla, &LatentAttention::kv_rank>, {}, {}, "attention.kv_lora_rank"},
      {"q_lora_rank", ref<&Architecture::mla, &LatentAttention::q_rank>, 0.0, {}, "attention.q_lora_rank"},
      {"n_routed_experts", ref<&Architecture::moe, &MixtureOfExperts::n_experts>, 0.0},
      {"num_experts_per_tok", ref<&Architecture::moe, &MixtureOfExperts::top_k>, 0.0},
      {"moe_intermediate_size", ref<&Architecture::moe, &MixtureOfExperts::ffn_width>, 0.0},
      {"first_k_dense_replace", ref<&Architecture::moe, &MixtureOfExperts::first_dense_layers>, 0.0},
      {"norm_topk_prob", ref<&Architecture::moe, &MixtureOfExperts::normalize>, 0.0},
      {"routed_scaling_factor", ref<&Architecture::moe, &MixtureOfExperts::scale>, 1.0},
  };
}

// How much YaRN sharpens the scores by: a multiplier on 0.1 ln(factor) + 1, squared.
double sharpening(const RopeScaling& scaling, double multiplier) {
  const double m = scaling.factor > 1 ? 0.1 * multiplier * std::log(double{scaling.factor}) + 1 : 1;
  return m * m;
}

float scale_with(const Architecture& a, double multiplier) {
  return static_cast<float>(sharpening(a.rope_scaling, multiplier) / std::sqrt(double(a.head_dim)));
}

void read_heads(const Json& config, Architecture& a, const std::string& where) {
  const auto rotated = json_get_or<std::uint32_t>(config, "qk_rope_head_dim", 64, where);
  const auto plain = json_get_or<std::uint32_t>(config, "qk_nope_head_dim", 128, where);
  if (rotated > kMaxWidth || plain > kMaxWidth) fail(where, "heads of {} + {} elements", plain, rotated);
  a.head_dim = plain + rotated;
  a.rotary_dim = rotated;
  a.n_kv_heads = 1;
  const auto scaling = config.find("rope_scaling");
  if (a.rope_scaling.kind == RopeScaling::Kind::kYarn && scaling != config.end()) {
    const double multiplier = json_get_or<double>(*scaling, "mscale_all_dim", 0, where);
    if (multiplier != 0) a.attention_scale = scale_with(a, multiplier);
  }
}

void write_heads(const Architecture& a, Json& config) {
  config["num_key_value_heads"] = a.n_heads;
  config["qk_rope_head_dim"] = a.rotary_dim;
  config["qk_nope_head_dim"] = a.head_dim - a.rotary_dim;
  if (a.mla.q_rank == 0) config["q_lora_rank"] = nullptr;
  if (a.attention_scale > 0 && a.rope_scaling.factor > 1) {
    // Files have three digits of it.
    const double m = std::sqrt(a.attention_scale * std::sqrt(double(a.head_dim)));
    const double multiplier = std::round((m - 1) / (0.1 * std::log(double{a.rope_scaling.factor})) * 1e4) / 1e4;
    config["rope_scaling"]["mscale_all_dim"] = multiplier;
  }
}

void read_shared(const Json& config, Architecture& a, const std::string& where) {
  const auto shared = json_get_or<std::uint32_t>(config, "n_shared_experts", 0, where);
  if (std::uint64_t{shared} * a.moe.ffn_width > kMaxWidth)
    fail(where, "{} shared experts of {}", shared, a.moe.ffn_width);
  a.moe.shared_ffn_width = shared * a.moe.ffn_width;
  if (json_get_or<std::uint32_t>(config, "moe_layer_freq", 1, where) != 1) {
    fail(where, "experts on every few layers are not supported");
  }
}

void write_shared(const Architecture& a, Json& config) {
  config["n_shared_experts"] = a.moe.ffn_width == 0 ? 0 : a.moe.shared_ffn_width / a.moe.ffn_width;
  config["n_group"] = a.moe.n_groups;
  config["topk_group"] = a.moe.top_groups;
}

void shrink_deepseek(Architecture& a) {
  a.n_kv_heads = 1, a.head_dim = 48, a.v_head_dim = 32, a.rotary_dim = 16;
  a.mla.kv_rank = 64, a.mla.q_rank = 96;
  a.moe.n_experts = 16, a.moe.top_k = 4, a.moe.ffn_width = 128, a.moe.shared_ffn_width = 256;
  a.moe.first_dense_layers = 1;
}

Family deepseek_family() {
  Family family;
  family.gguf = "deepseek2";
  family.gguf_rope_layout = family.hf_rope_layout = RopeLayout::kInterleaved;
  family.defaults.norm_eps = 1e-6f;
  family.names = deepseek_names();
  family.fields = deepseek_fields();
  family.rope_keys.part = nullptr;
  family.shrink = shrink_deepseek;
  return family;
}

}  // namespace

Family deepseek2_family() {
  Family family = deepseek_family();
  family.name = "deepseek2";
  family.hf_model_type = "deepseek_v2";
  family.hf_class = "DeepseekV2ForCausalLM";
  family.read_hf = [](const Json& config, Architecture& a, const std::string& where) {
    read_heads(config, a, where);
    read_shared(config, a, where);
    const auto method = json_get_or<std::string>(config, "topk_method", "greedy", where);
    if (method == "group_limited_greedy") {
      a.moe.n_groups = json_get_or<std::uint32_t>(config, "n_group", 1, where);
      a.moe.top_groups = json_get_or<std::uint32_t>(config, "topk_group", 1, where);
    } else if (method != "greedy") {
      throw Error(fmt::format("the routing \"{}\" is not supported", method), where,
                  "known are greedy and group_limited_greedy");
    }
  };
  family.write_hf = [](const Architecture& a, Json& config) {
    write_heads(a, config);
    write_shared(a, config);
    config["topk_method"] = a.moe.n_groups > 1 ? "group_limited_greedy" : "greedy";
    config["scoring_func"] = "softmax";
  };
  return family;
}

Family deepseek3_family() {
  Family family = deepseek_family();
  family.name = "deepseek3";
  family.hf_model_type = "deepseek_v3";
  family.hf_class = "DeepseekV3ForCausalLM";
  family.defaults.moe.score = RouterScore::kSigmoid;
  family.defaults.moe.correction_bias = true;
  family.is = [](const Architecture& a) { return a.moe.correction_bias; };
  family.read_hf = [](const Json& config, Architecture& a, const std::string& where) {
    read_heads(config, a, where);
    read_shared(config, a, where);
    a.moe.n_groups = json_get_or<std::uint32_t>(config, "n_group", 1, where);
    a.moe.top_groups = json_get_or<std::uint32_t>(config, "topk_group", 1, where);
    const auto scoring = json_get_or<std::string>(config, "scoring_func", "sigmoid", where);
    if (scoring != "sigmoid") fail(where, "scoring experts by \"{}\" is not supported", scoring);
  };
  family.write_hf = [](const Architecture& a, Json& config) {
    write_heads(a, config);
    write_shared(a, config);
    config["topk_method"] = "noaux_tc";
    config["scoring_func"] = "sigmoid";
  };
  family.shrink = [](Architecture& a) {
    shrink_deepseek(a);
    a.moe.n_groups = 4, a.moe.top_groups = 2;
    a.moe.normalize = true, a.moe.scale = 2.5f;
  };
  return family;
}

}  // namespace lathe::arch
