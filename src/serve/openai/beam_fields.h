// Beam search in a request: the likeliest texts instead of sampled ones.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/beam_search.h"
#include "serve/models.h"
#include "serve/openai/fields.h"

namespace lathe::serve {

// Reads "beams", or vLLM's "use_beam_search" with "best_of" (else `n`) beams, and "length_penalty"; nothing when no
// search is asked for. `n` texts are wanted. Throws ApiError naming the field: more beams than sequences are generated
// together, fewer than `n`, a field beside them that a search does not use.
std::optional<engine::BeamOptions> read_beams(Fields& fields, const Lease& lease, std::int64_t n);

// Throws ApiError where a request asks an endpoint that searches nothing for beams.
void refuse_beams(Fields& fields);

}  // namespace lathe::serve
