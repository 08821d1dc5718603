// 4-bit formats over a fixed table of 16 unevenly spaced levels, denser near zero: x = scale * kIq4Levels[nibble].
#pragma once

#include <array>
#include <cstdint>

#include "tensor/codec.h"

namespace lathe {

constexpr std::array<std::int8_t, 16> kIq4Levels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                    1,    13,   25,  38,  53,  69,  89,  113};

// 32 weights, 4.5 bits each.
struct BlockIQ4_NL {
  std::uint16_t d;      // half: scale
  std::uint8_t qs[16];  // low nibble of byte j: weight j; high nibble: weight j + 16
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// 256 weights, 4.25 bits each. The scale of the 32 weights of part p is d * (s - 32) with a 6-bit s.
struct BlockIQ4_XS {
  std::uint16_t d;           // half: scale of the super-block
  std::uint16_t scales_h;    // bits 2p, 2p + 1: high bits of s of part p
  std::uint8_t scales_l[4];  // low four bits of s, part 0 in the low nibble of byte 0
  std::uint8_t qs[128];      // 16 bytes per part; low nibble of byte j: weight j; high nibble: weight j + 16
};
static_assert(sizeof(BlockIQ4_XS) == 136);

extern const BlockFormat kIQ4_NL, kIQ4_XS;

}  // namespace lathe
