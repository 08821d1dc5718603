// The spellings of rotary position scaling in config.json: `rope_scaling` with "type" or "rope_type", and the newer
// `rope_parameters` that also holds the base.
#pragma once

#include "arch/architecture.h"
#include "base/json.h"

namespace lathe::formats {

// Fills rope_theta, rotary_dim and rope_scaling; head_dim and context_length must be set.
void rope_from_hf(const Json& config, arch::Architecture& architecture, const std::string& where);

// Sets "rope_theta", "rope_scaling" and, where part of a head rotates, "partial_rotary_factor".
void rope_to_hf(const arch::Architecture& architecture, Json& config);

// The double that prints as briefly as the float does (1e-05, not 9.999999747378752e-06) and reads as the same float.
double json_number(float value);

}  // namespace lathe::formats
