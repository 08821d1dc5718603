// 5-bit integer blocks of 32: Q5_0 is symmetric, x = d * (q - 16); Q5_1 has a minimum, x = d * q + m.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 32 weights, 5.5 bits each.
struct BlockQ5_0 {
  std::uint16_t d;      // half: scale
  std::uint8_t qh[4];   // a little-endian 32-bit word: bit i is the fifth bit of weight i
  std::uint8_t qs[16];  // low four bits; low nibble of byte j: weight j; high nibble: weight j + 16
};
static_assert(sizeof(BlockQ5_0) == 22);

// 32 weights, 6 bits each.
struct BlockQ5_1 {
  std::uint16_t d;      // half: scale
  std::uint16_t m;      // half: minimum
  std::uint8_t qh[4];   // as in Q5_0
  std::uint8_t qs[16];  // as in Q5_0
};
static_assert(sizeof(BlockQ5_1) == 24);

extern const BlockFormat kQ5_0, kQ5_1;

}  // namespace lathe
