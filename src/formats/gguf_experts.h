// The GGUF keys of mixtures of experts, the same for every family.
#pragma once

#include "arch/weights.h"
#include "formats/gguf_keys.h"

namespace lathe::formats {

// Fills a.moe from the keys and, for biases and gates, from which tensors there are (in canonical names; without any,
// the family's defaults stand). ffn_width must be set.
void read_gguf_experts(const GgufKeys& keys, const arch::Weights& weights, arch::Architecture& architecture);
void write_gguf_experts(const arch::MixtureOfExperts& experts, const std::string& prefix, Metadata& metadata);

}  // namespace lathe::formats
