#include "tensor/codecs/int_group_fit.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/lanes.h"
#include "tensor/codecs/rounding.h"

namespace lathe {
namespace {

// Candidates reach from covering every value (1) to clipping all beyond 1 / kMostClipping[bits - 1] of the range.
constexpr float kMostClipping[8] = {5, 3.2f, 2.4f, 1.8f, 1.5f, 1.3f, 1.2f, 1.1f};
constexpr float kLeastClipping = 0.85f;
constexpr int kSweeps = 3;  // of kLanes candidates
// Closer candidates lie at 1 + spread * (lane - 3) times the best reciprocal.
constexpr float kSpreads[] = {0.03f, 0.008f};

float highest_level(int bits) { return static_cast<float>((1 << bits) - 1); }

float half_rounded(float scale) { return float_from_half(half_from_float(scale)); }

// How many times finer than a covering one candidate `i` of all sweeps is.
float clipping(int i, int bits) {
  const float most = kMostClipping[bits - 1], step = 1.0f / (kSweeps * kLanes - 1);
  return kLeastClipping + (most - kLeastClipping) * step * static_cast<float>(i);
}

// The best grid so far, and how much of the squared error it takes away.
class Search {
 public:
  // Of the levels from `lowest` to `highest`. half: 0.5 where zero points lie between two levels, else 0.
  Search(std::span<const float> x, std::span<const float> weights, float lowest, float highest, float half)
      : x_(x), weights_(weights), lowest_(lowest), highest_(highest), half_(half) {}

  // Eight reciprocals of scales and their zero points.
  void try_all(Lanes inverse, Lanes zero) {
    const Lanes lowest = Lanes::all(lowest_) - zero, highest = Lanes::all(highest_) - zero;
    const Lanes whole_from_here = Lanes::all(kWholeFromHere), half = Lanes::all(half_);
    Lanes xq, qq;
    for (std::size_t i = 0; i < x_.size(); ++i) {
      Lanes q = lesser_of(greater_of(inverse * x_[i], lowest), highest);
      q = ((q + half + whole_from_here) - whole_from_here) - half;
      const Lanes weighted = q * weights_[i];
      xq = xq + weighted * x_[i];
      qq = qq + weighted * q;
    }
    for (int k = 0; k < kLanes; ++k) {
      const float scale = xq[k] / qq[k], gain = xq[k] * scale;  // error = sum(w x x) - gain
      if (!(gain > gain_) || safe_reciprocal(scale) == 0) continue;
      gain_ = gain;
      best_ = {scale, zero[k]};
    }
  }
  // Scales from covering ones, of which the reciprocal is `inverse`, to clipping ones, as they pay at `bits` bits.
  void sweep(float inverse, float zero, int bits) {
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      float inverses[kLanes];
      for (int k = 0; k < kLanes; ++k) inverses[k] = inverse * clipping(sweep * kLanes + k, bits);
      try_all(Lanes::of(inverses), Lanes::all(zero));
    }
  }
  void around(float zero) {
    const float inverse = safe_reciprocal(best_.scale);
    for (const float spread : kSpreads) {
      float inverses[kLanes];
      for (int k = 0; k < kLanes; ++k) inverses[k] = inverse * (1 + spread * static_cast<float>(k - 3));
      try_all(Lanes::of(inverses), Lanes::all(zero));
    }
  }
  const IntGrid& best() const { return best_; }
  void start(IntGrid grid) { best_ = grid; }

 private:
  std::span<const float> x_, weights_;
  float lowest_, highest_, half_, gain_ = 0;
  IntGrid best_;
};

// +-scale / 2: half the step is the weighted mean magnitude.
IntGrid fit_signs(std::span<const float> x, std::span<const float> weights) {
  double sum = 0, total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += static_cast<double>(weights[i]) * std::abs(x[i]);
    total += weights[i];
  }
  return {half_rounded(total > 0 ? static_cast<float>(2 * sum / total) : 0), fixed_zero(IntGroupKind::kSymmetric, 1)};
}

// With a zero point that is not stored.
IntGrid fit_fixed(std::span<const float> x, std::span<const float> weights, int bits, IntGroupKind kind) {
  const IntGrid cover = cover_int_grid(x, bits, kind);
  const float zero = cover.zero, inverse = safe_reciprocal(cover.scale);
  if (inverse == 0) return cover;
  Search search(x, weights, 0, highest_level(bits), zero - std::floor(zero));
  search.start(cover);
  search.sweep(inverse, zero, bits);
  if (kind == IntGroupKind::kSymmetric) search.sweep(-inverse, zero, bits);  // one level more below zero than above it
  search.around(zero);
  return {half_rounded(search.best().scale), zero};
}

IntGrid fit_asymmetric(std::span<const float> x, std::span<const float> weights, int bits) {
  const IntGrid cover = cover_int_grid(x, bits, IntGroupKind::kAsymmetric);
  const float inverse = safe_reciprocal(cover.scale), highest = highest_level(bits);
  if (inverse == 0) return cover;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const float middle = 0.5f * (std::min(*low, 0.0f) + std::max(*high, 0.0f));
  Search search(x, weights, 0, highest, 0);
  search.start(cover);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    float inverses[kLanes], zeros[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      inverses[k] = inverse * clipping(sweep * kLanes + k, bits);
      zeros[k] = nearest_level(0.5f * highest - middle * inverses[k], 0, highest);
    }
    search.try_all(Lanes::of(inverses), Lanes::of(zeros));
  }
  const float zero = search.best().zero;
  for (const float near : {zero, zero - 1, zero + 1}) {
    if (near >= 0 && near <= highest) search.around(near);
  }
  return {half_rounded(search.best().scale), search.best().zero};
}

}  // namespace

IntGrid fit_int_grid(std::span<const float> x, std::span<const float> weights, int bits, IntGroupKind kind) {
  if (kind == IntGroupKind::kAsymmetric) return fit_asymmetric(x, weights, bits);
  return bits == 1 ? fit_signs(x, weights) : fit_fixed(x, weights, bits, kind);
}

IntGrid fit_balanced_grid(std::span<const float> x, std::span<const float> weights, int bits) {
  const float zero = fixed_zero(IntGroupKind::kSymmetric, bits + 1), reach = std::ldexp(1.0f, bits - 1);
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  const IntGrid cover{half_rounded(largest / reach), zero};
  const float inverse = safe_reciprocal(cover.scale);
  if (inverse == 0) return cover;
  Search search(x, weights, zero - reach, zero + reach, 0);
  search.start(cover);
  search.sweep(inverse, zero, bits);
  search.around(zero);
  return {half_rounded(search.best().scale), zero};
}

int nearest_balanced_level(const IntGrid& grid, float x, int bits) {
  const int reach = 1 << (bits - 1), zero = static_cast<int>(grid.zero);
  return std::clamp(nearest_int_level(grid, x, bits + 1), zero - reach, zero + reach);
}

IntGrid cover_int_grid(std::span<const float> x, int bits, IntGroupKind kind) {
  float low = 0, high = 0;
  for (const float value : x) low = std::min(low, value), high = std::max(high, value);
  const float highest = highest_level(bits);
  if (kind != IntGroupKind::kAsymmetric) {
    const float zero = fixed_zero(kind, bits), largest = std::max(-low, high);
    return {half_rounded(largest / (highest - zero)), zero};
  }
  const float scale = half_rounded((high - low) / highest);
  return {scale, nearest_level(-low * safe_reciprocal(scale), 0, highest)};
}

}  // namespace lathe
