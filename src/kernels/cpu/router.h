// Which experts each token goes to. Plain C++: a row has a few hundred logits at most, beside megabytes of weights.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/router.h"

namespace lathe::kernels::cpu {

// One row of Backend::route: weights and experts take params.top_k entries. `scratch`: 2 * logits.size() floats. A NaN
// is never chosen before a number.
void route_row(const RouterParams& params, std::span<const float> logits, float* weights, std::int32_t* experts,
               float* scratch);

}  // namespace lathe::kernels::cpu
