// How the plain integer blocks of 32 weights (Q4_0, Q4_1, Q5_0, Q5_1) are written. Without importance the largest
// weights fix the scale, bit for bit as every writer of these formats does it; with importance the scale minimises the
// weighted squared error.
#pragma once

#include <cstdint>

namespace lathe {

// x = d * (q - levels / 2), q in [0, levels).
struct SymmetricBlock32 {
  std::uint16_t d;  // half
  std::uint8_t q[32];
  SymmetricBlock32(const float* x, const float* importance, int levels);
};

// x = d * q + m, q in [0, levels).
struct AffineBlock32 {
  std::uint16_t d, m;  // half
  std::uint8_t q[32];
  AffineBlock32(const float* x, const float* importance, int levels);
};

}  // namespace lathe
