// Quantized Hugging Face checkpoints: GPTQ (as AutoGPTQ and GPTQModel write it) and AWQ (version "gemm"), read into
// integer groups without a change to any value; and BitNet's packed ternary weights, whose one scale becomes a number
// of half precision. docs/formats/huggingface.md has the layouts.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "arch/families.h"
#include "arch/weights.h"
#include "base/json_fwd.h"

namespace lathe::formats {

struct HfQuantization {
  enum class Method : std::uint8_t { kGptq, kAwq, kBitnet };
  Method method = Method::kGptq;
  int bits = 0;
  int group_size = 0;        // 0: one group per row
  bool zero_offset = false;  // GPTQ's first format stores zero points less one
  bool divides = false;      // BitNet: outputs are divided by the stored scale, not multiplied
  bool symmetric = false;    // what the file says; zero points that differ make INT_ASYM of it
};

// config.json's "quantization_config"; nothing when there is none, or its method is the one of the family's own
// checkpoints (arch::Family::hf_quantization). Throws an Error naming the method or the setting for what Lathe does not
// read.
std::optional<HfQuantization> hf_quantization(const Json& config, const arch::Family& family, const std::string& where);

// Gathers the parts of quantized linears from the files of a checkpoint.
class HfQuantizedWeights {
 public:
  explicit HfQuantizedWeights(const HfQuantization& quantization) : quantization_(quantization) {}
  // Takes tensors named "<linear>.qweight", ".qzeros", ".scales" and ".g_idx", or, of BitNet, ".weight_scale" and bytes
  // named ".weight"; false for others.
  bool take(const std::string& hf_name, PackedTensor tensor);
  // Adds a tensor under its canonical name for every linear. Throws an Error naming `where` and the linear when parts
  // are missing, have the wrong shape or dtype, or groups are not runs of columns. `with_data` as when the parts were
  // read.
  void finish(const arch::Architecture& architecture, bool with_data, const std::string& where,
              arch::Weights& weights) const;

 private:
  using Parts = std::map<std::string, PackedTensor, std::less<>>;
  PackedTensor assemble(const std::string& linear, const Parts& parts, bool with_data, const std::string& where) const;
  PackedTensor assemble_ternary(const std::string& linear, const Parts& parts, bool with_data,
                                const std::string& where) const;

  HfQuantization quantization_;
  std::map<std::string, Parts> linears_;
};

}  // namespace lathe::formats
