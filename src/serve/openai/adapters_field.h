// The adapters of a request: those that its model's name ends in, or a field that names several and scales them.
#pragma once

#include <vector>

#include "api/generator.h"
#include "serve/models.h"
#include "serve/openai/fields.h"

namespace lathe::serve {

// Reads "adapters", a list of names or of {"name", "scale"}; all are applied, each its own scale times that of the
// server's --adapter. Not given: those of the model's name. Throws ApiError naming the entry: an adapter the model does
// not have (404), one that is named twice, a field beside a model's name with adapters.
std::vector<api::AdapterUse> read_adapters(Fields& fields, const Lease& lease);

}  // namespace lathe::serve
