// Q3_K: super-blocks of 256 in 16 groups of 16 weights with a signed 6-bit scale each, x = (d * scale) * (q - 4).
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 256 weights, 3.4375 bits each.
struct BlockQ3_K {
  std::uint8_t hmask[32];  // bit n of byte m: third bit of q of weight m + 32 n
  std::uint8_t qs[64];     // low two bits: bits 2n, 2n + 1 of byte m: weight m + 32 n for m < 32, 128 + (m - 32) + 32 n
                           // for the rest
  std::uint8_t scales[12];  // unpack_signed_scales() in k_scales.h
  std::uint16_t d;          // half: scale of the scales
};
static_assert(sizeof(BlockQ3_K) == 110);

extern const BlockFormat kQ3_K;

}  // namespace lathe
