// Q2_K: super-blocks of 256 in 16 groups of 16 weights with a 4-bit scale and a 4-bit minimum each,
// x = (d * scale) * q - (dmin * minimum).
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 256 weights, 2.625 bits each.
struct BlockQ2_K {
  std::uint8_t scales[16];  // one per 16 weights: scale in the low nibble, minimum in the high one
  std::uint8_t qs[64];      // bits 2n, 2n + 1 of byte m: weight m + 32 n for m < 32, 128 + (m - 32) + 32 n for the rest
  std::uint16_t d;          // half: scale of the scales
  std::uint16_t dmin;       // half: scale of the minima
};
static_assert(sizeof(BlockQ2_K) == 84);

extern const BlockFormat kQ2_K;

}  // namespace lathe
