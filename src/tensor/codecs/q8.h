// 8-bit integer blocks: x[i] = d * q[i]. Q8_0 stores weights; Q8_1 (with the sum of the block) and Q8_K (super-blocks)
// are what GGUF engines use for activations, and may appear in files.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 32 weights, 8.5 bits each.
struct BlockQ8_0 {
  std::uint16_t d;     // half: scale
  std::int8_t qs[32];  // in order
};
static_assert(sizeof(BlockQ8_0) == 34);

// 32 weights, 9 bits each.
struct BlockQ8_1 {
  std::uint16_t d;     // half: scale
  std::uint16_t s;     // half: d * sum(qs), not needed to decode
  std::int8_t qs[32];  // in order
};
static_assert(sizeof(BlockQ8_1) == 36);

// 256 weights, 9.125 bits each.
struct BlockQ8_K {
  float d;                 // scale
  std::int8_t qs[256];     // in order
  std::int16_t bsums[16];  // sum of each 16 of qs, not needed to decode
};
static_assert(sizeof(BlockQ8_K) == 292);

extern const BlockFormat kQ8_0, kQ8_1, kQ8_K;

}  // namespace lathe
