// Mixtral (Jiang et al. 2024): Llama with two of eight experts per token, weighed by a softmax over the two. GGUF files
// call it a Llama.
#include "arch/families/rows.h"

namespace lathe::arch {

void settle_mixtral(Architecture& a) {
  if (a.moe.n_experts == 0) return;
  a.moe.ffn_width = a.ffn_width;
  a.moe.normalize = true;
}

Family mixtral_family() {
  Family family = llama_family();
  family.name = family.hf_model_type = "mixtral";
  family.hf_class = "MixtralForCausalLM";
  const std::string experts = "model.layers.{}.block_sparse_moe.";
  family.names = joined(llama_names(), {{"blk.{}.ffn_gate_inp.weight", experts + "gate.weight"},
                                        {"blk.{}.ffn_gate.{}.weight", experts + "experts.{}.w1.weight"},
                                        {"blk.{}.ffn_up.{}.weight", experts + "experts.{}.w3.weight"},
                                        {"blk.{}.ffn_down.{}.weight", experts + "experts.{}.w2.weight"}});
  family.fields =
      joined(llama_fields(), {{"num_local_experts", ref<&Architecture::moe, &MixtureOfExperts::n_experts>, 8.0},
                              {"num_experts_per_tok", ref<&Architecture::moe, &MixtureOfExperts::top_k>, 2.0},
                              {"sliding_window", ref<&Architecture::window>, None{}}});
  family.is = [](const Architecture& a) { return a.moe.n_experts > 0; };
  family.shrink = [](Architecture& arch) { arch.ffn_width = 256, arch.moe.n_experts = 8, arch.moe.top_k = 2; };
  return family;
}

}  // namespace lathe::arch
