// Qwen3 (Yang et al. 2025): Llama with an RMS norm on every query and key head, biases only where the configuration
// asks for them, and Qwen2's windows.
#include "arch/families/rows.h"

namespace lathe::arch {

Family qwen3_family() {
  Family family = qwen2_family();
  family.name = family.gguf = family.hf_model_type = "qwen3";
  family.hf_class = "Qwen3ForCausalLM";
  family.defaults.attention_bias = false;
  family.defaults.qk_norm = true;
  family.fields = joined(llama_fields(), {
                                             {"attention_bias", ref<&Architecture::attention_bias>, 0.0},
                                             {"attention_bias", ref<&Architecture::output_bias>, 0.0},
                                         });
  return family;
}

}  // namespace lathe::arch
