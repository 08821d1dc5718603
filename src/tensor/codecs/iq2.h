// 2-bit codebook formats: super-blocks of 256 in groups of 8 weights, each a point of a magnitude lattice and 8 signs.
// A scale nibble s means d * (0.5 + s) / 4.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 2.0625 bits per weight.
struct BlockIQ2_XXS {
  std::uint16_t d;  // half: scale of the super-block
  // Each 32 weights: 4 bytes of grid indices (one per 8 weights), then a 32-bit word with four 7-bit sign fields from
  // bit 0 (the eighth sign makes their number even) and the scale in bits 28..31.
  std::uint8_t qs[64];
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

// 2.3125 bits per weight.
struct BlockIQ2_XS {
  std::uint16_t d;         // half: scale of the super-block
  std::uint16_t qs[32];    // one per 8 weights: bits 0..8 grid index, bits 9..15 signs (the eighth makes them even)
  std::uint8_t scales[8];  // one per 32 weights: low nibble for the first 16, high nibble for the rest
};
static_assert(sizeof(BlockIQ2_XS) == 74);

// 2.5625 bits per weight.
struct BlockIQ2_S {
  std::uint16_t d;         // half: scale of the super-block
  std::uint8_t qs[32];     // one per 8 weights: low 8 bits of the grid index
  std::uint8_t signs[32];  // one per 8 weights: bit i set negates weight i
  std::uint8_t qh[8];      // one per 32 weights: bits 2g, 2g + 1 are the high bits of group g's grid index
  std::uint8_t scales[8];  // one per 32 weights: low nibble for the first 16, high nibble for the rest
};
static_assert(sizeof(BlockIQ2_S) == 82);

extern const BlockFormat kIQ2_XXS, kIQ2_XS, kIQ2_S;

}  // namespace lathe
