// The vocabulary that descriptions of models (arch/) and devices (kernels/) share: variants of the basic operations.
#pragma once

#include <cstdint>

namespace lathe {

enum class NormKind : std::uint8_t { kRms, kLayer };
enum class ActivationKind : std::uint8_t { kSilu, kGelu, kGeluTanh, kGeluQuick, kRelu, kRelu2 };

// Which elements of a head rotate together: (2i, 2i + 1), or (i, i + rotary_dim / 2).
enum class RopeLayout : std::uint8_t { kInterleaved, kHalves };

}  // namespace lathe
