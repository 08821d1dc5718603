// The vocabulary that descriptions of models (arch/) and devices (kernels/) share: variants of the basic operations.
#pragma once

#include <cstdint>

namespace lathe {

enum class NormKind : std::uint8_t { kRms, kLayer };
enum class ActivationKind : std::uint8_t { kSilu, kGelu, kGeluTanh, kGeluQuick, kRelu, kRelu2 };

// Which elements of a head rotate together: (2i, 2i + 1), or (i, i + rotary_dim / 2).
enum class RopeLayout : std::uint8_t { kInterleaved, kHalves };

// What a router makes of its logits before it chooses: softmax over all experts (Switch, Mixtral), a sigmoid of each
// (DeepSeek-V3), or nothing, with a softmax over the chosen ones afterwards (gpt-oss).
enum class RouterScore : std::uint8_t { kSoftmax, kSigmoid, kSoftmaxOfChosen };

// What stands for a whole text: the mean of its tokens' hidden states, the first one, or the last.
enum class PoolingKind : std::uint8_t { kMean, kCls, kLast };

}  // namespace lathe
