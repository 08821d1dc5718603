#include "arch/sinusoids.h"

#include <algorithm>
#include <cmath>

namespace lathe::arch {

std::vector<float> sinusoids(std::uint64_t rows, std::uint64_t width) {
  const std::uint64_t half = width / 2;
  const double step = std::log(10000.0) / static_cast<double>(std::max<std::uint64_t>(half, 2) - 1);
  std::vector<float> table(rows * width);
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (std::uint64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(row) * std::exp(-step * static_cast<double>(i));
      table[row * width + i] = static_cast<float>(std::sin(angle));
      table[row * width + half + i] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

}  // namespace lathe::arch
