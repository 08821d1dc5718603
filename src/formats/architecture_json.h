// Architecture <-> JSON, every field under its own name: how .lathe files hold it. Unknown fields are an error to the
// reader, since ignoring one would change the model.
#pragma once

#include "arch/architecture.h"
#include "base/json_fwd.h"

namespace lathe::formats {

Json architecture_to_json(const arch::Architecture& architecture);

// Throws an Error naming `where` and the field. The result is validated.
arch::Architecture architecture_from_json(const Json& json, const std::string& where);

}  // namespace lathe::formats
