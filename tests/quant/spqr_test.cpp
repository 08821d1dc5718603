// SpQR against the procedure of its paper in plain double-precision loops that share no code with it, and what its
// outliers must do for the error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "quant/inverse.h"
#include "quant/layer.h"
#include "tensor/codecs/spqr.h"

namespace lathe::quant {
namespace {

constexpr std::size_t kTile = 16;

double half(double value) { return float_from_half(half_from_float(static_cast<float>(value))); }

void eliminate(std::vector<double>& inverse, std::size_t n, std::size_t j) {
  for (std::size_t r = j + 1; r < n; ++r) {
    for (std::size_t c = j + 1; c < n; ++c)
      inverse[r * n + c] -= inverse[r * n + j] * inverse[j * n + c] / inverse[j * n + j];
  }
}

struct Grid {
  double scale, zero;
};
Grid cover(const std::vector<double>& x, int bits) {
  double low = 0, high = 0;
  for (const double v : x) low = std::min(low, v), high = std::max(high, v);
  const double scale = (high - low) / ((1 << bits) - 1);
  return {scale, -low / scale};
}
double level_of(Grid g, double x, int bits) {
  return std::clamp(std::nearbyint(x / g.scale + g.zero), 0.0, (1 << bits) - 1.0);
}
double value_of(Grid g, double level) { return g.scale * (level - g.zero); }

// Sum of squared errors over squared pivots, without the k-th.
double cost(const std::vector<double>& x, const std::vector<double>& pivots2, int bits, std::size_t without) {
  std::vector<double> kept, p2;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i != without) kept.push_back(x[i]), p2.push_back(pivots2[i]);
  }
  const Grid g = cover(kept, bits);
  double total = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    total += std::pow(kept[i] - value_of(g, level_of(g, kept[i], bits)), 2) / p2[i];
  }
  return total;
}

// Rounds a number of every row of a tile to 3 bits between the smallest and the largest.
void round_codes(std::vector<Grid>& grids, double Grid::*number) {
  double low = INFINITY, high = -INFINITY;
  for (const Grid& g : grids) low = std::min(low, g.*number), high = std::max(high, g.*number);
  const double min = half(low), step = half((high - low) / 7);
  for (Grid& g : grids) g.*number = min + step * std::clamp(std::nearbyint((g.*number - min) / step), 0.0, 7.0);
}

// Algorithm 1 of the paper on w [rows, n].
std::vector<double> plain_spqr(std::vector<double> w, std::size_t n, std::vector<double> h, double damping, int bits,
                               std::size_t group, double tau) {
  const std::size_t rows = w.size() / n;
  double mean_diagonal = 0;
  for (std::size_t i = 0; i < n; ++i) mean_diagonal += h[i * n + i] / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) h[i * n + i] += damping * mean_diagonal;
  const std::vector<double> whole = inverse_of(h, n);
  std::vector<double> inverse = whole, pivots2(n);
  for (std::size_t j = 0; j < n; ++j) pivots2[j] = inverse[j * n + j], eliminate(inverse, n, j);
  double threshold = 0;
  for (std::size_t j = 0; j < n; ++j) {
    double sum = 0, squares = 0;
    for (std::size_t r = 0; r < rows; ++r) sum += w[r * n + j], squares += w[r * n + j] * w[r * n + j];
    const double mean = sum / static_cast<double>(rows);
    threshold += tau * (squares / static_cast<double>(rows) - mean * mean) / pivots2[j] / static_cast<double>(n);
  }
  inverse = whole;
  std::vector<double> result(w.size());
  std::vector<Grid> grids(rows);
  for (std::size_t j = 0; j < n; ++j) {
    if (j % group == 0) {
      const std::size_t count = std::min(group, n - j);
      const std::vector<double> p2(pivots2.begin() + static_cast<std::ptrdiff_t>(j),
                                   pivots2.begin() + static_cast<std::ptrdiff_t>(j + count));
      for (std::size_t r = 0; r < rows; ++r) {
        const auto begin = w.begin() + static_cast<std::ptrdiff_t>(r * n + j);
        std::vector<double> x(begin, begin + static_cast<std::ptrdiff_t>(count));
        std::vector<std::size_t> out;
        double sum = 0;
        for (std::size_t k = 0; k < count; ++k) {
          if (cost(x, p2, bits, count) - cost(x, p2, bits, k) > threshold) {
            out.push_back(k);
          } else {
            sum += x[k];
          }
        }
        for (const std::size_t k : out) x[k] = sum / static_cast<double>(count - out.size());
        grids[r] = cover(x, bits);
      }
      for (std::size_t r = 0; r < rows; r += kTile) {
        std::vector<Grid> tile(grids.begin() + static_cast<std::ptrdiff_t>(r),
                               grids.begin() + static_cast<std::ptrdiff_t>(std::min(rows, r + kTile)));
        round_codes(tile, &Grid::scale);
        round_codes(tile, &Grid::zero);
        std::copy(tile.begin(), tile.end(), grids.begin() + static_cast<std::ptrdiff_t>(r));
      }
    }
    for (std::size_t r = 0; r < rows; ++r) {
      double& x = w[r * n + j];
      double rounded = value_of(grids[r], level_of(grids[r], x, bits));
      if (std::pow(x - rounded, 2) / pivots2[j] > threshold) rounded = half(x);
      result[r * n + j] = rounded;
      const double error = (x - rounded) / inverse[j * n + j];
      for (std::size_t k = j + 1; k < n; ++k) w[r * n + k] -= error * inverse[k * n + j];
    }
    eliminate(inverse, n, j);
  }
  return result;
}

Target spqr_target(int bits, int group) { return {&codec_named("SPQR"), {bits, group}}; }

// Floats on one side and doubles on the other now and then round a number the other way, and then the rest of a row, or
// a tile's grids, differ: most rows must be equal.
TEST(Spqr, DoesWhatThePaperSays) {
  for (const float tau : {0.2f, 0.0f}) {
    for (const int group : {16, 24}) {
      Layer layer(test::tiny_llama(), spqr_target(3, group), 5);
      layer.work.options.outlier_threshold = tau;
      layer.work.options.damping = 0.1f;
      spqr_method().quantize(layer.work);
      const std::string name = "blk.0.attn_q";
      const std::vector<float>& weight = layer.model.decoded.at(name + ".weight");
      const PackedTensor& packed = layer.work.packed.at(name + ".weight");
      const std::vector<float> got = packed.to_floats();
      const auto& gram = layer.work.inputs.at(name)->gram;
      const std::size_t n = layer.work.inputs.at(name)->columns(), rows = weight.size() / n;
      const std::vector<double> expected = plain_spqr({weight.begin(), weight.end()}, n, {gram.begin(), gram.end()},
                                                      0.1, 3, static_cast<std::size_t>(group), tau > 0 ? tau : 1e300);
      std::size_t equal = 0;
      for (std::size_t row = 0; row < rows; ++row) {
        bool same = true;
        for (std::size_t c = 0; c < n; ++c) same &= std::abs(got[row * n + c] - expected[row * n + c]) < 1e-5;
        equal += same;
      }
      EXPECT_GE(equal, rows * 3 / 4) << group << ", " << tau;
      EXPECT_EQ(packed.params.stored > 0, tau > 0);
    }
  }
}

// The lower the threshold, the more outliers and the smaller the error in the outputs; and it beats rounding.
TEST(Spqr, OutliersTakeErrorAway) {
  double before = INFINITY;
  std::uint64_t outliers = 0;
  for (const float tau : {0.0f, 1.0f, 0.3f, 0.1f}) {
    Layer layer(test::tiny_llama(), spqr_target(3, 16));
    layer.work.options.outlier_threshold = tau;
    layer.work.options.damping = 0.01f;
    spqr_method().quantize(layer.work);
    const double error = layer.output_error("blk.0.ffn_down");
    const std::uint64_t stored = layer.work.packed.at("blk.0.ffn_down.weight").params.stored;
    if (tau == 0) {
      Layer rounded(test::tiny_llama(), spqr_target(3, 16));
      rtn_method().quantize(rounded.work);
      EXPECT_LT(error, 0.8 * rounded.output_error("blk.0.ffn_down"));
      EXPECT_EQ(stored, 0u);
    } else {
      EXPECT_GT(stored, outliers);
      EXPECT_LT(error, before);
    }
    before = error, outliers = stored;
  }
}

TEST(Spqr, ThreadsDoNotChangeItAndBadWeightsAreErrors) {
  Layer layer(test::tiny_llama(), spqr_target(4, 16)), other(test::tiny_llama(), spqr_target(4, 16));
  ThreadPool one(1);
  other.work.pool = &one;
  spqr_method().quantize(layer.work);
  spqr_method().quantize(other.work);
  for (const auto& [name, tensor] : layer.work.packed) {
    EXPECT_EQ(tensor.to_floats(), other.work.packed.at(name).to_floats());
  }
  layer.work.values("blk.0.attn_q.weight")[7] = NAN;
  EXPECT_THROW(spqr_method().quantize(layer.work), Error);
  other.work.values("blk.0.attn_q.weight")[7] = 1e7f;
  EXPECT_THROW(spqr_method().quantize(other.work), Error);
}

}  // namespace
}  // namespace lathe::quant
