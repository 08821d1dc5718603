// Activations as bit planes (ActivationFormat::kPlanes) for products of integers of any two widths: x is about
// scale * (u - zero), u an integer of 1 to 8 bits, with one scale and zero point per row of input. Padding is u = 0.
//
// Beside INT_SYM and INT_ASYM weights the grid covers the row's smallest and largest value, zero among them, and zero
// points are levels (ABQ-LLM, Zeng et al. 2024). Beside BIPOLAR weights levels are as many above zero as
// below, zero lies between the middle two, and a value takes the level of the step it falls in (Ma et al. 2025,
// "Efficient Arbitrary Precision Acceleration for Large Language Models on GPU Tensor Cores").
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace lathe::kernels::cpu {

inline constexpr std::size_t kPlaneChunk = 32;  // columns whose bits of one plane are a word, the first lowest

struct PlaneMeta {
  float scale;              // 0 for a row of zeros; NaN when the row holds a NaN or an infinity
  std::int32_t twice_zero;  // which may lie between two levels
};

// How a row is quantized.
struct PlaneFormat {
  int bits = 0;
  bool bipolar = false;
  friend bool operator==(const PlaneFormat&, const PlaneFormat&) = default;
};

struct PlaneInput {
  const std::uint32_t* words = nullptr;  // [rows][bits][chunks]
  const std::int32_t* sums = nullptr;    // [rows][chunks + 1]: of u over all columns before a chunk
  const PlaneMeta* meta = nullptr;       // [rows]
  int bits = 0;
};

// A row's grid: u = rounded(x * inverse) + offset, kept in [0, 2^bits - 1].
struct PlaneScale {
  PlaneMeta meta;
  float inverse;  // 0: every u is 0
  std::int32_t offset;
};

// From a row's extremes, zero among them. Rows too small to have an inverse hold zeros, and so do those that are not
// finite. `low` and `high` are not NaN.
inline PlaneScale plane_scale(float low, float high, const PlaneFormat& format) {
  const auto highest = static_cast<float>((1 << format.bits) - 1);
  const float range = format.bipolar ? 2 * (high > -low ? high : -low) : high - low;
  if (!(range <= std::numeric_limits<float>::max())) return {{std::numeric_limits<float>::quiet_NaN(), 0}, 0, 0};
  if (range < 1e-30f) return {{0, 0}, 0, 0};
  if (format.bipolar) {
    const float levels = highest + 1;
    return {{range / levels, (1 << format.bits) - 1}, levels / range, 1 << (format.bits - 1)};
  }
  const float inverse = highest / range;
  const auto zero = static_cast<std::int32_t>(std::lround(-low * inverse));
  return {{range / highest, 2 * zero}, inverse, zero};
}

}  // namespace lathe::kernels::cpu
