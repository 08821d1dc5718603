// The most integer dot products that this machine can do: what a matrix product of bytes may be held against.
#pragma once

#include <string>

namespace lathe::kernels {

// Multiply-adds of bytes per second over all `threads`, operands in registers, with the instructions of the set of
// kernels called `kernel` ("auto", "avx2", ...); 0 for the scalar one.
double dot_peak(const std::string& kernel, int threads);

}  // namespace lathe::kernels
