// Adapters are data that ride along with a model's weights, chosen per row of a batch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace lathe::model {

// y += scale * B (A x), beside the linear layer of the same name (LoRA, Hu et al. 2021, section 4.1).
struct LowRank {
  std::shared_ptr<const kernels::PreparedLinear> a;  // [rank, in_features]
  std::shared_ptr<const kernels::PreparedLinear> b;  // [out_features, rank]
  float scale = 1;
};

struct Adapter {
  std::uint64_t fingerprint = 0;  // of what it adds: part of the prefix cache's key, also from one run to the next
  std::map<std::string, LowRank, std::less<>> low_rank;  // by weight, without ".weight": "blk.0.attn_q"
};

}  // namespace lathe::model
