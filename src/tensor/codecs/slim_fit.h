// Grids of SLIM's blocks (slim.h) that minimise a weighted squared error.
#pragma once

#include <span>

#include "tensor/codecs/int_group.h"

namespace lathe {

// The grid of `width` bits for one row of a block, with one weight >= 0 per value. From fit_int_grid's best grid, and
// for one bit from the weighted mean and the mean distance from it (as the paper binarises), scale and zero point are
// solved for the levels they give while that lowers the error. The scale is infinite when the values are too large for
// half precision.
IntGrid fit_slim_grid(std::span<const float> x, std::span<const float> weights, int width);

}  // namespace lathe
