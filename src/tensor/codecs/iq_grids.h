// The codebooks of the GGUF IQ formats (facts of the format, read off by decoding): a stored index names a point of a
// small lattice, 8 magnitudes (IQ2), 4 magnitudes (IQ3) or 8 signed values (IQ1) at once.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace lathe {

using GridPoint8 = std::array<std::int8_t, 8>;
using GridPoint4 = std::array<std::int8_t, 4>;

extern const std::array<GridPoint8, 256> kIq2XxsGrid;  // magnitudes 8, 25, 43
extern const std::array<GridPoint8, 512> kIq2XsGrid;
extern const std::array<GridPoint8, 1024> kIq2SGrid;
extern const std::array<GridPoint4, 256> kIq3XxsGrid;  // magnitudes 4, 12, 20, 28, 36, 44, 52, 62
extern const std::array<GridPoint4, 512> kIq3SGrid;    // magnitudes 1, 3, 5, ..., 15
extern const std::array<GridPoint8, 2048> kIq1Grid;    // values -1, 0, 1; of IQ1_S and IQ1_M

// Eight sign bits from the seven stored ones: the number of negative signs is even.
inline unsigned even_signs(unsigned seven_bits) {
  return seven_bits | (static_cast<unsigned>(std::popcount(seven_bits)) & 1u) << 7;
}

}  // namespace lathe
