// How fast this machine reads memory: the ceiling that decoding is held against.
#pragma once

#include <cstdint>

namespace lathe::cli {

// Bytes per second that `threads` threads read together from a buffer of `bytes`, the best of several passes. With the
// working set of a model this is the peak for exactly that model, caches included.
double measure_read_bandwidth(int threads, std::uint64_t bytes);

}  // namespace lathe::cli
