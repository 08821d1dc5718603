// 4-bit integer blocks of 32: Q4_0 is symmetric, x = d * (q - 8); Q4_1 has a minimum, x = d * q + m.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 32 weights, 4.5 bits each.
struct BlockQ4_0 {
  std::uint16_t d;      // half: scale
  std::uint8_t qs[16];  // low nibble of byte j: weight j; high nibble: weight j + 16
};
static_assert(sizeof(BlockQ4_0) == 18);

// 32 weights, 5 bits each.
struct BlockQ4_1 {
  std::uint16_t d;      // half: scale
  std::uint16_t m;      // half: minimum
  std::uint8_t qs[16];  // low nibble of byte j: weight j; high nibble: weight j + 16
};
static_assert(sizeof(BlockQ4_1) == 20);

extern const BlockFormat kQ4_0, kQ4_1;

}  // namespace lathe
