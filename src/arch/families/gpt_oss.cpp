// gpt-oss (OpenAI 2025): attention sinks, a window on every second layer, biases everywhere but in the norms, experts
// with a clamped gate, chosen by their logits and weighed by a softmax over the chosen.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family gpt_oss_family() {
  Family family;
  family.name = family.gguf = "gpt-oss";
  family.hf_model_type = "gpt_oss";
  family.hf_class = "GptOssForCausalLM";
  family.hf_quantization = "mxfp4";
  Architecture& a = family.defaults;
  a.attention_bias = a.output_bias = a.attention_sinks = true;
  a.window = 128;
  a.activation_limit = 7;
  a.rope_theta = 150000;
  a.rope_scaling.truncate = false;
  a.moe.score = RouterScore::kSoftmaxOfChosen;
  a.moe.router_bias = a.moe.expert_bias = true;
  const std::string layer = "model.layers.{}.";
  family.names = joined(llama_names(), {{"blk.{}.attn_sinks.weight", layer + "self_attn.sinks"},
                                        {"blk.{}.ffn_gate_inp.weight", layer + "mlp.router.weight"},
                                        {"blk.{}.ffn_gate_inp.bias", layer + "mlp.router.bias"}});
  // All experts of a layer in one array (formats/mxfp4_experts.h).
  for (const char* part : {"_blocks", "_scales", "_bias"}) {
    family.names.push_back({std::string("blk.{}.ffn_gate_up") + part, layer + "mlp.experts.gate_up_proj" + part});
    family.names.push_back({std::string("blk.{}.ffn_down") + part, layer + "mlp.experts.down_proj" + part});
  }
  for (NameRule& rule : family.names) {
    if (rule.canonical == "blk.{}.ffn_norm.weight") rule.gguf = "blk.{}.post_attention_norm.weight";
  }
  family.fields =
      joined(llama_fields(), {{"num_local_experts", ref<&Architecture::moe, &MixtureOfExperts::n_experts>, 128.0},
                              {"num_experts_per_tok", ref<&Architecture::moe, &MixtureOfExperts::top_k>, 4.0},
                              {"sliding_window", ref<&Architecture::window>, 128.0},
                              {"swiglu_limit", ref<&Architecture::activation_limit>, 7.0}});
  family.read_hf = [](const Json& config, Architecture& arch, const std::string& where) {
    read_layer_types(config, arch, where);
  };
  family.write_hf = write_layer_types;
  family.settle = [](Architecture& arch) {
    if (arch.moe.ffn_width == 0) arch.moe.ffn_width = arch.ffn_width;
    alternate_windows(arch, 2);
  };
  family.shrink = [](Architecture& arch) {
    arch.ffn_width = 256, arch.window = 16, arch.moe.n_experts = 8, arch.moe.top_k = 2;
  };
  return family;
}

}  // namespace lathe::arch
