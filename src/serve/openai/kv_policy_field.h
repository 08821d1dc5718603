// "kv_policy" of a request: which cached tokens its sequences attend to, as far as the server lets requests choose
// (docs/verbs/serve.md).
#pragma once

#include <string>

#include "serve/models.h"
#include "serve/openai/fields.h"

namespace lathe::serve {

// A name ("full", "sinks", "infllm"), or an object with a "name" and numbers; those not given are the server's own
// where its policy has that name, else the usual ones. In the words of --kv-policy; empty when the request says nothing
// (null, too). Throws ApiError for a policy that is unknown, not offered, beyond the server's bounds, or that this
// model, or the server's other options, cannot have.
std::string read_kv_policy(Fields& fields, const Lease& lease);

}  // namespace lathe::serve
