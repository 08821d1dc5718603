// Qwen2-MoE and Qwen1.5-MoE (Yang et al. 2024, section 2.2.2): Qwen2 with routed experts and a shared one that a
// sigmoid gate weighs. Qwen3-MoE (Yang et al. 2025): Qwen3 with routed experts whose weights are made to sum to one,
// none shared.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

std::vector<NameRule> qwen_moe_names() {
  const std::string mlp = "model.layers.{}.mlp.";
  return joined(llama_names(), {{"blk.{}.ffn_gate_inp.weight", mlp + "gate.weight"},
                                {"blk.{}.ffn_gate.{}.weight", mlp + "experts.{}.gate_proj.weight"},
                                {"blk.{}.ffn_up.{}.weight", mlp + "experts.{}.up_proj.weight"},
                                {"blk.{}.ffn_down.{}.weight", mlp + "experts.{}.down_proj.weight"},
                                {"blk.{}.ffn_gate_shexp.weight", mlp + "shared_expert.gate_proj.weight"},
                                {"blk.{}.ffn_up_shexp.weight", mlp + "shared_expert.up_proj.weight"},
                                {"blk.{}.ffn_down_shexp.weight", mlp + "shared_expert.down_proj.weight"},
                                {"blk.{}.ffn_gate_inp_shexp.weight", mlp + "shared_expert_gate.weight"}});
}

std::vector<Field> qwen_moe_fields(double experts, double top_k) {
  return {{"num_experts", ref<&Architecture::moe, &MixtureOfExperts::n_experts>, experts},
          {"num_experts_per_tok", ref<&Architecture::moe, &MixtureOfExperts::top_k>, top_k},
          {"moe_intermediate_size", ref<&Architecture::moe, &MixtureOfExperts::ffn_width>},
          {"norm_topk_prob", ref<&Architecture::moe, &MixtureOfExperts::normalize>, 0.0}};
}

void read_qwen_moe(const Json& config, Architecture& a, const std::string& where) {
  read_qwen_windows(config, a, where);
  if (json_get_or<std::uint32_t>(config, "decoder_sparse_step", 1, where) != 1 ||
      !json_get_or<std::vector<std::uint32_t>>(config, "mlp_only_layers", {}, where).empty()) {
    fail(where, "experts on only some layers are not supported for this model type");
  }
}

}  // namespace

Family qwen2moe_family() {
  Family family = qwen2_family();
  family.name = family.gguf = "qwen2moe";
  family.hf_model_type = "qwen2_moe";
  family.hf_class = "Qwen2MoeForCausalLM";
  family.defaults.moe.shared_gate = true;
  family.names = qwen_moe_names();
  family.fields = joined(
      joined(llama_fields(), qwen_moe_fields(60, 4)),
      {{"shared_expert_intermediate_size", ref<&Architecture::moe, &MixtureOfExperts::shared_ffn_width>, 5632.0}});
  family.read_hf = read_qwen_moe;
  family.shrink = [](Architecture& a) {
    a.moe.n_experts = 8, a.moe.top_k = 4;
    a.moe.ffn_width = 128, a.moe.shared_ffn_width = 256;
  };
  return family;
}

Family qwen3moe_family() {
  Family family = qwen3_family();
  family.name = family.gguf = "qwen3moe";
  family.hf_model_type = "qwen3_moe";
  family.hf_class = "Qwen3MoeForCausalLM";
  family.defaults.moe.normalize = true;
  family.names = qwen_moe_names();
  family.fields = joined(family.fields, qwen_moe_fields(128, 8));
  family.read_hf = read_qwen_moe;
  family.shrink = [](Architecture& a) { a.moe.n_experts = 16, a.moe.top_k = 4, a.moe.ffn_width = 128; };
  return family;
}

}  // namespace lathe::arch
