// Ternary formats (BitNet b1.58 and its kin): x = d * (t - 1) with t in {0, 1, 2}, super-blocks of 256, a half scale
// each.
#pragma once

#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// 1.6875 bits per weight. A byte holds five ternary digits (qs) or four (qh) as a fixed-point fraction of 256, rounded
// up, the first digit most significant: digit n is the integer part of 3 * frac(byte * 3^n / 256).
struct BlockTQ1_0 {
  std::uint8_t qs[48];  // bytes 0..31: weights m + 32 n; bytes 32..47: weights 160 + (m - 32) + 16 n
  std::uint8_t qh[4];   // weights 240 + m + 4 n
  std::uint16_t d;      // half: scale
};
static_assert(sizeof(BlockTQ1_0) == 54);

// 2.0625 bits per weight.
struct BlockTQ2_0 {
  std::uint8_t qs[64];  // bits 2n, 2n + 1 of byte m: weight m + 32 n for m < 32, 128 + (m - 32) + 32 n for the rest
  std::uint16_t d;      // half: scale
};
static_assert(sizeof(BlockTQ2_0) == 66);

extern const BlockFormat kTQ1_0, kTQ2_0;

}  // namespace lathe
