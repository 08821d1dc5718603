// The factor of an inverse that GPTQ walks along. Written here rather than taken from a library because exactly this
// product is wanted, in one pass, spread over the program's own threads, with the same bytes for any number of them; a
// header library compiled for the baseline instruction set would run it several times slower.
#pragma once

#include <cstddef>
#include <vector>

#include "base/thread_pool.h"

namespace lathe::quant {

// For a symmetric positive definite H [n, n] (only its lower triangle is read, and all of it is overwritten): the lower
// triangular V with H^-1 = V V^T, whose transpose is the upper Cholesky factor of H^-1. False when H is not positive
// definite to working precision (double).
bool inverse_factor(std::vector<double>& h, std::size_t n, ThreadPool& pool);

}  // namespace lathe::quant
