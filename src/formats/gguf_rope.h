// Rotary positions in GGUF files: keys, and factor tensors beside the weights.
#pragma once

#include <vector>

#include "arch/weights.h"
#include "formats/gguf_keys.h"

namespace lathe::formats {

// Fills rotary_dim, rope_theta and rope_scaling; head_dim and context_length must be set. What YaRN sharpens the scores
// by (DeepSeek's mscale_all_dim) goes into attention_scale unless that is set.
void read_gguf_rope(const GgufKeys& keys, const arch::Weights& weights, arch::Architecture& architecture);
// Throws for dynamic NTK, which GGUF cannot say.
void write_gguf_rope(const arch::Architecture& architecture, const std::string& prefix, Metadata& metadata);

// rope_freqs.weight, rope_factors_{short,long}.weight: what the architecture says as floats, GGUF holds as F32 tensors.
bool is_rope_factor_tensor(std::string_view name);
std::vector<PackedTensor> rope_factor_tensors(const arch::Architecture& architecture);

}  // namespace lathe::formats
