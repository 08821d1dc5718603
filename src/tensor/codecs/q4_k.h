// Q4_K: super-blocks of 256 in 8 groups of 32 weights with a 6-bit scale and a 6-bit minimum each,
// x = (d * scale) * q - (dmin * minimum).
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 256 weights, 4.5 bits each.
struct BlockQ4_K {
  std::uint16_t d;          // half: scale of the scales
  std::uint16_t dmin;       // half: scale of the minima
  std::uint8_t scales[12];  // unpack_scales_and_minima() in k_scales.h
  std::uint8_t qs[128];     // 32 bytes per 64 weights; low nibble of byte j: weight j; high nibble: weight j + 32
};
static_assert(sizeof(BlockQ4_K) == 144);

extern const BlockFormat kQ4_K;

}  // namespace lathe
