// BitNet b1.58 (Ma et al. 2024, "The Era of 1-bit LLMs"; Wang et al. 2023, "BitNet"): Llama with squared
// ReLU in its gate and a norm in front of the last product of each branch. Checkpoints hold ternary weights
// (formats/hf_quantized.h). GGUF files of this kind are named as Microsoft's program for them names it.
#include "arch/families/rows.h"

namespace lathe::arch {

Family bitnet_family() {
  Family family;
  family.name = family.hf_model_type = "bitnet";
  family.gguf = "bitnet-b1.58";
  family.hf_class = "BitNetForCausalLM";
  family.defaults.activation = ActivationKind::kRelu2;
  family.defaults.sub_norms = true;
  family.names =
      joined(llama_names(), {{"blk.{}.attn_sub_norm.weight", "model.layers.{}.self_attn.attn_sub_norm.weight"},
                             {"blk.{}.ffn_sub_norm.weight", "model.layers.{}.mlp.ffn_sub_norm.weight"}});
  family.fields = joined(llama_fields(), {
                                             {"attention_bias", ref<&Architecture::attention_bias>, 0.0},
                                             {"attention_bias", ref<&Architecture::output_bias>, 0.0},
                                         });
  return family;
}

}  // namespace lathe::arch
