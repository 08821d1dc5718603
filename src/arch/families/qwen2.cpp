// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases on q, k and v. The configuration names a sliding window that
// is off unless it says otherwise, and then on from some layer up.
#include <algorithm>

#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {

void read_qwen_windows(const Json& config, Architecture& a, const std::string& where) {
  if (!json_get_or<bool>(config, "use_sliding_window", false, where)) return;
  a.window = json_get_or<std::uint32_t>(config, "sliding_window", 0, where);
  if (a.window == 0) return;
  if (!read_layer_types(config, a, where)) {
    const auto first = json_get_or<std::uint32_t>(config, "max_window_layers", a.n_layers, where);
    for (std::uint32_t layer = 0; layer < std::min(a.n_layers, kMaxLayers); ++layer)
      a.full_layers.push_back(layer < first);
  }
  const auto none = [&](bool full) {
    return std::find(a.full_layers.begin(), a.full_layers.end(), full) == a.full_layers.end();
  };
  if (none(false)) a.window = 0;
  if (none(true) || none(false)) a.full_layers.clear();
}

void write_qwen_windows(const Architecture& a, Json& config) {
  if (a.window == 0) return;
  config["use_sliding_window"] = true;
  config["sliding_window"] = a.window;
  write_layer_types(a, config);
}

Family qwen2_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "qwen2";
  family.hf_class = "Qwen2ForCausalLM";
  family.defaults.attention_bias = true;
  family.defaults.norm_eps = 1e-6f;
  family.names = llama_names();
  family.fields = llama_fields();
  family.read_hf = read_qwen_windows;
  family.write_hf = write_qwen_windows;
  return family;
}

}  // namespace lathe::arch
