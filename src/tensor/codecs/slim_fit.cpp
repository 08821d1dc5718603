#include "tensor/codecs/slim_fit.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/slim.h"

namespace lathe {
namespace {

constexpr int kRefinements = 4;

float stored_scale(float scale) { return float_from_half(half_from_float(scale)); }

float stored_zero(float zero, int width) {
  const float unit = slim_zero_unit(width);
  return std::clamp(std::nearbyint(zero / unit), 0.0f, 255.0f) * unit;
}

double weighted_error(const IntGrid& grid, std::span<const float> x, std::span<const float> weights, int width) {
  double total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double off = x[i] - grid.value(nearest_int_level(grid, x[i], width));
    total += off * off * weights[i];
  }
  return total;
}

// Mean +- mean distance from it.
IntGrid two_sided(std::span<const float> x, std::span<const float> weights) {
  double total = 0, sum = 0, distance = 0;
  for (std::size_t i = 0; i < x.size(); ++i) total += weights[i], sum += static_cast<double>(weights[i]) * x[i];
  if (!(total > 0)) return {};
  const double mean = sum / total;
  for (std::size_t i = 0; i < x.size(); ++i) distance += weights[i] * std::abs(x[i] - mean);
  const float scale = stored_scale(static_cast<float>(2 * distance / total));
  if (scale == 0) return {};
  return {scale, stored_zero(0.5f - static_cast<float>(mean) / scale, 1)};
}

// Least squares for the levels that `grid` gives.
IntGrid solved(const IntGrid& grid, std::span<const float> x, std::span<const float> weights, int width) {
  double w = 0, wx = 0, wq = 0, wqq = 0, wxq = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double q = nearest_int_level(grid, x[i], width), weight = weights[i], value = x[i];
    w += weight, wx += weight * value, wq += weight * q, wqq += weight * q * q, wxq += weight * value * q;
  }
  const double slope = (w * wxq - wx * wq) / (w * wqq - wq * wq);
  if (!std::isfinite(slope) || slope == 0) return grid;  // one level only
  const float zero = stored_zero(static_cast<float>((wq - wx / slope) / w), width);
  const double energy = wqq - 2 * zero * wq + zero * zero * w;  // of (q - zero)
  return {stored_scale(static_cast<float>((wxq - zero * wx) / energy)), zero};
}

}  // namespace

IntGrid fit_slim_grid(std::span<const float> x, std::span<const float> weights, int width) {
  IntGrid best = fit_int_grid(x, weights, width, IntGroupKind::kAsymmetric);
  if (!std::isfinite(best.scale)) return best;
  double least = weighted_error(best, x, weights, width);
  const auto better = [&](const IntGrid& grid) {
    if (!std::isfinite(grid.scale) || grid.scale == 0) return false;
    const double error = weighted_error(grid, x, weights, width);
    if (!(error < least)) return false;
    least = error, best = grid;
    return true;
  };
  if (width == 1) better(two_sided(x, weights));
  for (int i = 0; i < kRefinements && better(solved(best, x, weights, width)); ++i) continue;
  return best;
}

}  // namespace lathe
