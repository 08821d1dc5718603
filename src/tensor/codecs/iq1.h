// 1-bit codebook formats: super-blocks of 256 in groups of 8 weights, each a point of {-1, 0, 1}^8 shifted as a whole
// by
// +-1/8: x = scale * (point +- 0.125).
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 1.5625 bits per weight.
struct BlockIQ1_S {
  std::uint16_t d;      // half: scale of the super-block
  std::uint8_t qs[32];  // one per 8 weights: low 8 bits of the grid index
  // One per 32 weights: four 3-bit fields from bit 0 (high bits of the grid indices), scale s in bits 12..14, meaning
  // d * (2 s + 1), and bit 15 set for the shift -0.125.
  std::uint16_t qh[8];
};
static_assert(sizeof(BlockIQ1_S) == 50);

// 1.75 bits per weight.
struct BlockIQ1_M {
  std::uint8_t qs[32];  // one per 8 weights: low 8 bits of the grid index
  std::uint8_t qh[16];  // one nibble per 8 weights, low first: 3 high bits of the index, then the bit for shift -0.125
  // Four 16-bit words: in bits 0..11 four 3-bit scales s, each for 16 weights, meaning d * (2 s + 1); in bits 12..15 a
  // quarter of the super-block's half scale d, lowest first.
  std::uint8_t scales[8];
};
static_assert(sizeof(BlockIQ1_M) == 56);

extern const BlockFormat kIQ1_S, kIQ1_M;

}  // namespace lathe
