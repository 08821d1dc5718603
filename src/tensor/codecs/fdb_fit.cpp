#include "tensor/codecs/fdb_fit.h"

#include <cmath>
#include <vector>

#include "base/half.h"
#include "tensor/codecs/int_group_fit.h"

namespace lathe {
namespace {

constexpr int kMostRounds = 24;
constexpr int kCodes = 4;

float as_half(float scale) { return float_from_half(half_from_float(scale)); }

// Writes the nearest codes; the weighted squared error they leave.
double assign(const FdbGrid& grid, std::span<const float> x, std::span<const float> weights,
              std::span<std::uint8_t> codes) {
  double error = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int code = nearest_fdb_code(grid, x[i]);
    const double off = double{x[i]} - grid.value(code);
    codes[i] = static_cast<std::uint8_t>(code);
    error += weights[i] * off * off;
  }
  return error;
}

}  // namespace

int nearest_fdb_code(const FdbGrid& grid, float x) {
  int best = 0;
  float least = std::abs(x);
  for (int code = 1; code < kCodes; ++code) {
    const float off = std::abs(x - grid.value(code));
    if (off < least) best = code, least = off;
  }
  return best;
}

FdbGrid fdb_of_integers(float scale) { return {-2 * scale, scale}; }

FdbGrid solve_fdb_scales(std::span<const float> x, std::span<const float> weights, std::span<const std::uint8_t> codes,
                         const FdbGrid& grid) {
  double first = 0, second = 0, both = 0, x_first = 0, x_second = 0;  // sums of w b1, w b2, w b1 b2, w x b1, w x b2
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double w = weights[i], wx = w * x[i];
    if ((codes[i] & 1) != 0) first += w, x_first += wx;
    if ((codes[i] & 2) != 0) second += w, x_second += wx;
    if (codes[i] == 3) both += w;
  }
  const double determinant = first * second - both * both;
  if (determinant > 1e-9 * first * second) {
    return {static_cast<float>((x_first * second - x_second * both) / determinant),
            static_cast<float>((x_second * first - x_first * both) / determinant)};
  }
  FdbGrid solved = grid;  // one plane is empty, or both are the same
  if (first > 0) solved.first = static_cast<float>((x_first - both * solved.second) / first);
  if (second > 0 && first == 0) solved.second = static_cast<float>(x_second / second);
  return solved;
}

FdbGrid fit_fdb_grid(std::span<const float> x, std::span<const float> weights) {
  const IntGrid integers = fit_int_grid(x, weights, 2, IntGroupKind::kSymmetric);
  FdbGrid best = fdb_of_integers(integers.scale), grid = best;
  if (!std::isfinite(as_half(best.first))) return {INFINITY, INFINITY};
  std::vector<std::uint8_t> codes(x.size());
  double least = assign(best, x, weights, codes);
  for (int round = 0; round < kMostRounds && least > 0; ++round) {
    grid = solve_fdb_scales(x, weights, codes, grid);
    const FdbGrid rounded{as_half(grid.first), as_half(grid.second)};
    const double error = assign(rounded, x, weights, codes);
    if (!(error < least)) break;
    best = rounded, least = error;
  }
  return best;
}

}  // namespace lathe
