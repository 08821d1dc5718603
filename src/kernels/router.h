// What a routing call is told.
#pragma once

#include <cstdint>

#include "tensor/op_kinds.h"

namespace lathe::kernels {

// How a router chooses experts by its logits (see arch::MixtureOfExperts for the sources).
struct RouterParams {
  RouterScore score = RouterScore::kSoftmax;
  std::uint32_t top_k = 1;
  // > 1: experts lie in so many groups of equal size, of which only the best top_groups take part. A group is as good
  // as its best expert, or, with a correction, as the sum of its two best.
  std::uint32_t n_groups = 1, top_groups = 1;
  bool normalize = false;             // the chosen weights are divided by their sum
  float scale = 1;                    // and multiplied by this
  const float* correction = nullptr;  // device address, one per expert: added to the scores for the choice only
};

}  // namespace lathe::kernels
