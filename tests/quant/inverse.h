// The inverse of a matrix by Gauss-Jordan elimination, for tests of methods that use the Hessian's.
#pragma once

#include <cstddef>
#include <vector>

namespace lathe::quant {

// h: positive definite, [n, n].
inline std::vector<double> inverse_of(std::vector<double> h, std::size_t n) {
  std::vector<double> inverse(n * n, 0);
  for (std::size_t i = 0; i < n; ++i) inverse[i * n + i] = 1;
  for (std::size_t p = 0; p < n; ++p) {
    const double pivot = h[p * n + p];
    for (std::size_t j = 0; j < n; ++j) h[p * n + j] /= pivot, inverse[p * n + j] /= pivot;
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = h[i * n + p];
      if (i == p || factor == 0) continue;
      for (std::size_t j = 0; j < n; ++j) {
        h[i * n + j] -= factor * h[p * n + j], inverse[i * n + j] -= factor * inverse[p * n + j];
      }
    }
  }
  return inverse;
}

}  // namespace lathe::quant
