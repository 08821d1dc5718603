// Q6_K: super-blocks of 256 in 16 groups of 16 weights with a signed 8-bit scale each, x = (d * scale) * (q - 32).
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 256 weights, 6.5625 bits each.
struct BlockQ6_K {
  std::uint8_t ql[128];  // low four bits: 64 bytes per 128 weights; low nibble of byte j: weight j; high: weight j + 64
  std::uint8_t qh[64];   // high two bits: 32 bytes per 128 weights; bits 2n, 2n + 1 of byte m: weight m + 32 n
  std::int8_t scales[16];  // one per 16 weights
  std::uint16_t d;         // half: scale of the scales
};
static_assert(sizeof(BlockQ6_K) == 210);

extern const BlockFormat kQ6_K;

}  // namespace lathe
