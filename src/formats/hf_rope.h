// The spellings of rotary position scaling in config.json: `rope_scaling` with "type" or "rope_type", and the newer
// `rope_parameters` that also holds the base.
#pragma once

#include "arch/families.h"
#include "base/json_fwd.h"

namespace lathe::formats {

// Fills rope_theta, rope_scaling and, unless the family says it otherwise, rotary_dim; head_dim and context_length must
// be set.
void rope_from_hf(const Json& config, const arch::RopeKeys& keys, arch::Architecture& architecture,
                  const std::string& where);

// Sets the base and "rope_scaling" and, where it is not what the family's models have, the part of a head that rotates.
void rope_to_hf(const arch::Architecture& architecture, const arch::RopeKeys& keys, Json& config);

// The double that prints as briefly as the float does (1e-05, not 9.999999747378752e-06) and reads as the same float.
double json_number(float value);

}  // namespace lathe::formats
