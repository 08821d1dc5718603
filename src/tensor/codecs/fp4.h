// 4-bit floating point (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign bit) with a shared 8-bit scale. MXFP4 is the OCP
// Microscaling Formats specification v1.0; NVFP4 is NVIDIA's finer variant of it.
#pragma once

#include <array>
#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

// Twice the values of the 16 E2M1 codes.
constexpr std::array<std::int8_t, 16> kE2M1Doubled = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 32 weights, 4.25 bits each.
struct BlockMXFP4 {
  std::uint8_t e;       // scale 2^(e - 127)
  std::uint8_t qs[16];  // low nibble of byte j: weight j; high nibble: weight j + 16
};
static_assert(sizeof(BlockMXFP4) == 17);

// 64 weights, 4.5 bits each.
struct BlockNVFP4 {
  std::uint8_t d[4];    // one per 16 weights: scale as unsigned E4M3 (bias 7, no infinities; 0x7f counts as zero)
  std::uint8_t qs[32];  // 8 bytes per 16 weights; low nibble of byte j: weight j; high nibble: weight j + 8
};
static_assert(sizeof(BlockNVFP4) == 36);

extern const BlockFormat kMXFP4, kNVFP4;

}  // namespace lathe
