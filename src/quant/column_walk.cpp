#include "quant/column_walk.h"

namespace lathe::quant {

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define LATHE_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LATHE_VECTOR_CLONES
#endif

LATHE_VECTOR_CLONES void subtract_errors(float* target, const float* factors, const float* errors, std::size_t count) {
  float sums[kStripRows];
  std::memcpy(sums, target, sizeof sums);
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t r = 0; r < kStripRows; ++r) sums[r] -= factors[j] * errors[j * kStripRows + r];
  }
  std::memcpy(target, sums, sizeof sums);
}

}  // namespace lathe::quant
