// The rows of the family table, one file each, and what several of them share.
#pragma once

#include <vector>

#include "arch/families.h"

namespace lathe::arch {

Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();
Family phi2_family();
Family phi3_family();
Family gemma_family();
Family gemma2_family();
Family gemma3_family();
Family gpt2_family();
Family gptj_family();
Family gptneox_family();
Family opt_family();
Family bloom_family();
Family falcon40_family();
Family falcon_family();
Family stablelm_family();
Family mixtral_family();
Family qwen2moe_family();
Family qwen3moe_family();
Family deepseek2_family();
Family deepseek3_family();
Family gpt_oss_family();
Family bert_family();
Family roberta_family();
Family nomic_bert_family();
Family t5_family();
Family flan_t5_family();
Family transformer_family();
Family bitnet_family();

// --- shared by families of Llama's kind ---
std::vector<NameRule> llama_names();
// The fields of LlamaConfig but for the biases.
std::vector<Field> llama_fields();

// Config defaults that follow from other sizes.
double heads_of(const Architecture& architecture);
double width_by_heads(const Architecture& architecture);
double four_widths(const Architecture& architecture);
// Throws when a switch of the configuration is on (or off) that Lathe has no block for.
void refuse_unless(const Json& config, const char* key, bool wanted, const std::string& where);

template <class T>
std::vector<T> joined(std::vector<T> first, const std::vector<T>& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

// Which layers have the window: "layer_types" of newer configurations, when there are any.
// Returns false when the key is absent or null.
bool read_layer_types(const Json& config, Architecture& architecture, const std::string& where);
void write_layer_types(const Architecture& architecture, Json& config);

// Qwen's own way to say them.
void read_qwen_windows(const Json& config, Architecture& architecture, const std::string& where);
void write_qwen_windows(const Architecture& architecture, Json& config);

// What GGUF files of Mixtral models, which say that they are Llamas, leave to the reader.
void settle_mixtral(Architecture& architecture);

// Full attention on every `period`-th layer, counted from 1, and a window on the others, unless the file said which.
void alternate_windows(Architecture& architecture, std::uint32_t period);

}  // namespace lathe::arch
