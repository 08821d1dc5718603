// Llama (Touvron et al. 2023): RMS norm, RoPE, SwiGLU, no biases. Where config.json switches biases on, all four
// projections of attention, or all three of the feed-forward layer, have one.
#include "arch/families/rows.h"

namespace lathe::arch {

Family llama_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "llama";
  family.hf_class = "LlamaForCausalLM";
  family.gguf_rope_layout = RopeLayout::kInterleaved;
  family.names = llama_names();
  family.fields = joined(llama_fields(), {
                                             {"attention_bias", ref<&Architecture::attention_bias>, 0.0},
                                             {"attention_bias", ref<&Architecture::output_bias>, 0.0},
                                             {"mlp_bias", ref<&Architecture::ffn_bias>, 0.0},
                                         });
  family.settle = settle_mixtral;
  return family;
}

}  // namespace lathe::arch
