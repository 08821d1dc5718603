// Attention with linear biases (Press et al. 2022, section 3): each head adds slope * (key position - query position)
// to its scores.
#pragma once

#include <cstdint>
#include <vector>

namespace lathe::arch {

// For a power of two n: 2^(-8 i / n), i = 1 .. n. Otherwise those of the next lower power of two, then every second
// one of the next higher (the authors' own rule).
std::vector<float> alibi_slopes(std::uint32_t n_heads);

}  // namespace lathe::arch
