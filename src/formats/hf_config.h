// Hugging Face config.json <-> Architecture, for the model types of arch/families.h.
#pragma once

#include "arch/architecture.h"
#include "base/json_fwd.h"

namespace lathe::formats {

// Throws an Error naming `where` (the file) and the field. The result is validated.
arch::Architecture architecture_from_hf(const Json& config, const std::string& where);

// `torch_dtype` as Hugging Face spells it ("bfloat16"). Throws for what the model type's config cannot say.
Json architecture_to_hf(const arch::Architecture& architecture, const std::string& torch_dtype,
                        const std::string& where);

}  // namespace lathe::formats
