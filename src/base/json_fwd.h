// The name of the JSON type, for headers that only pass documents along; base/json.h defines it.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace lathe {

// Keeps the order of keys, so that files and --json output read as written.
using Json = nlohmann::ordered_json;

}  // namespace lathe
