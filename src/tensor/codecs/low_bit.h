// The plainest 1-bit and 2-bit blocks: a half scale and bits in order. Q1_0 is binary, x = +-d; Q2_0 has the values
// -d, 0, d, 2 d, of which ternary models use three.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 128 weights, 1.125 bits each.
struct BlockQ1_0 {
  std::uint16_t d;      // half: magnitude
  std::uint8_t qs[16];  // bit i % 8 of byte i / 8: weight i, set for +d
};
static_assert(sizeof(BlockQ1_0) == 18);

// 64 weights, 2.25 bits each.
struct BlockQ2_0 {
  std::uint16_t d;      // half: scale
  std::uint8_t qs[16];  // bits 2 (i % 4), 2 (i % 4) + 1 of byte i / 4: weight i, x = d * (q - 1)
};
static_assert(sizeof(BlockQ2_0) == 18);

extern const BlockFormat kQ1_0, kQ2_0;

}  // namespace lathe
