// 3-bit codebook formats: super-blocks of 256 in groups of 4 weights, each a point of a magnitude lattice, with signs.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 3.0625 bits per weight.
struct BlockIQ3_XXS {
  std::uint16_t d;      // half: scale of the super-block
  std::uint8_t qs[64];  // one grid index per 4 weights
  // One 32-bit word per 32 weights: four 7-bit sign fields from bit 0, each for 8 weights (the eighth sign makes their
  // number even), and in bits 28..31 the scale s, meaning d * (0.5 + s) / 2.
  std::uint8_t words[32];
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

// 3.4375 bits per weight.
struct BlockIQ3_S {
  std::uint16_t d;         // half: scale of the super-block
  std::uint8_t qs[64];     // one per 4 weights: low 8 bits of the grid index
  std::uint8_t qh[8];      // one per 32 weights: bit g is the ninth bit of group g's grid index
  std::uint8_t signs[32];  // one per 8 weights: bit i set negates weight i
  std::uint8_t scales[4];  // one nibble s per 32 weights, low first, meaning d * (1 + 2 s)
};
static_assert(sizeof(BlockIQ3_S) == 110);

extern const BlockFormat kIQ3_XXS, kIQ3_S;

}  // namespace lathe
