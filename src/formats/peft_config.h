// adapter_config.json of a PEFT folder: by what each module's low-rank update (LoRA, Hu et al. 2021) is scaled.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace lathe::formats {

class PeftConfig {
 public:
  // `modules`: the modules that the adapter updates, as its tensors name them ("model.layers.0.self_attn.q_proj").
  // Throws an Error naming `where` for what a low-rank update beside unchanged weights cannot express (DoRA, biases,
  // saved modules, repeated layers, starting points that change the weights, ...), and for a pattern of modules that is
  // no regular expression, backtracks too much or matches none of them.
  PeftConfig(std::string_view text, const std::string& where, std::span<const std::string> modules);

  double alpha(const std::string& module) const;
  // What alpha is divided by: `rank` (rows of A), or its root (rsLoRA, Kalajdzievski 2023). Throws when the module
  // should have another rank.
  double divisor(const std::string& module, std::uint64_t rank) const;

 private:
  std::string where_;
  double alpha_ = 8, rank_ = 0;  // rank 0: not said
  bool rs_ = false;
  std::map<std::string, double, std::less<>> alphas_, ranks_;  // of the modules that a pattern matches
};

}  // namespace lathe::formats
