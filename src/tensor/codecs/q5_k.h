// Q5_K: super-blocks of 256 in 8 groups of 32 weights with a 6-bit scale and a 6-bit minimum each,
// x = (d * scale) * q - (dmin * minimum).
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 256 weights, 5.5 bits each.
struct BlockQ5_K {
  std::uint16_t d;          // half: scale of the scales
  std::uint16_t dmin;       // half: scale of the minima
  std::uint8_t scales[12];  // unpack_scales_and_minima() in k_scales.h
  std::uint8_t qh[32];      // bit n of byte m: fifth bit of weight m + 32 n
  std::uint8_t qs[128];     // 32 bytes per 64 weights; low nibble of byte j: weight j; high nibble: weight j + 32
};
static_assert(sizeof(BlockQ5_K) == 176);

extern const BlockFormat kQ5_K;

}  // namespace lathe
