// Fixed position vectors made of sines and cosines (Vaswani et al. 2017, section 3.5), in the arrangement of
// tensor2tensor: the first half of a vector are the sines, the second the cosines.
#pragma once

#include <cstdint>
#include <vector>

namespace lathe::arch {

// [rows, width], row-major; `width` is even. Wavelengths run from 2 pi to 10000 * 2 pi.
std::vector<float> sinusoids(std::uint64_t rows, std::uint64_t width);

}  // namespace lathe::arch
