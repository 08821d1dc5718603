// Mistral (Jiang et al. 2023): Llama with a sliding window on every layer. GGUF files call it a Llama.
#include "arch/families/rows.h"

namespace lathe::arch {

Family mistral_family() {
  Family family = llama_family();
  family.name = family.hf_model_type = "mistral";
  family.hf_class = "MistralForCausalLM";
  family.fields = joined(llama_fields(), {{"sliding_window", ref<&Architecture::window>, None{}}});
  family.settle = nullptr;
  family.is = [](const Architecture& a) { return a.window > 0 && a.moe.n_experts == 0; };
  family.shrink = [](Architecture& arch) { arch.window = 16; };
  return family;
}

}  // namespace lathe::arch
