// Grids of integer groups (int_group.h) that minimise a weighted squared error: round-to-nearest with scale search.
#pragma once

#include <cmath>
#include <span>

#include "tensor/codecs/int_group.h"

namespace lathe {

// The grid for `x`, with one weight >= 0 per value. For given integers the best scale is a least-squares solution; the
// integers follow from the scale by rounding. So a range of scales is tried, from covering all values to clipping the
// farthest ones (the lower the width, the more it pays), and then closer ones around the best. The result's scale has
// been rounded to half precision; it is infinite when the values are too large for that.
IntGrid fit_int_grid(std::span<const float> x, std::span<const float> weights, int bits, IntGroupKind kind);

// The grid that just covers the smallest and the largest value (what plain round-to-nearest, GPTQ and AWQ use).
IntGrid cover_int_grid(std::span<const float> x, int bits, IntGroupKind kind);

// The grid of 2^bits + 1 levels around zero (balanced.h) as one of integers with one bit more, found likewise; and the
// level of it nearest to x: 2^(bits - 1) .. 3 * 2^(bits - 1) of those integers.
IntGrid fit_balanced_grid(std::span<const float> x, std::span<const float> weights, int bits);
int nearest_balanced_level(const IntGrid& grid, float x, int bits);

// The level nearest to x.
inline int nearest_int_level(const IntGrid& grid, float x, int bits) {
  const float highest = static_cast<float>((1 << bits) - 1);
  const float level = grid.scale == 0 ? grid.zero : x / grid.scale + grid.zero;
  const float kept = level > 0 ? (level < highest ? level : highest) : 0;  // NaN goes to 0
  return static_cast<int>(std::lround(kept));
}

}  // namespace lathe
