#include "arch/alibi.h"

#include <bit>
#include <cmath>

namespace lathe::arch {

std::vector<float> alibi_slopes(std::uint32_t n_heads) {
  const std::uint32_t whole = std::bit_floor(n_heads);
  std::vector<float> slopes;
  for (std::uint32_t i = 1; i <= whole; ++i) slopes.push_back(static_cast<float>(std::exp2(-8.0 * i / whole)));
  for (std::uint32_t i = 1; slopes.size() < n_heads; i += 2) {
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * i / whole)));
  }
  return slopes;
}

}  // namespace lathe::arch
