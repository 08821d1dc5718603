// Grids of dual binarization (fdb.h) that minimise a weighted squared error.
#pragma once

#include <span>

#include "tensor/codecs/fdb.h"

namespace lathe {

// The code of the level nearest to x; the lowest code of equally near ones. What the paper's two thresholds say
// while second < 0 < first + second < first.
int nearest_fdb_code(const FdbGrid& grid, float x);

// The four levels of a 2-bit integer grid, in the place where DB-LLM starts: first = -2 second.
FdbGrid fdb_of_integers(float scale);

// The grid for `x`, with one weight >= 0 per value: from 2-bit integers' best grid on, levels chosen and scales solved
// for in turn until nothing is gained. The result is no worse than the integers' grid, its scales have been rounded to
// half precision, and are infinite when the values are too large for that.
FdbGrid fit_fdb_grid(std::span<const float> x, std::span<const float> weights);

// Scales of least weighted squared error for codes that stay, not rounded; a plane without a bit set keeps `grid`'s.
FdbGrid solve_fdb_scales(std::span<const float> x, std::span<const float> weights, std::span<const std::uint8_t> codes,
                         const FdbGrid& grid);

}  // namespace lathe
