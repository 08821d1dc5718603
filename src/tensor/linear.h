// A linear layer as data: y = W (x[permutation] * scale) + b.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/packed_tensor.h"

namespace lathe {

struct Linear {
  PackedTensor weight;                           // [out_features, in_features]
  std::vector<std::uint32_t> input_permutation;  // empty, or in_features indices: column i of W reads x[permutation[i]]
  std::vector<float> input_scale;                // empty, or in_features factors applied to x before the product
  std::vector<float> bias;                       // empty, or out_features

  std::uint64_t out_features() const { return weight.shape.rows(); }
  std::uint64_t in_features() const { return weight.shape.cols(); }
};

}  // namespace lathe
