// SpQR against the procedure of its paper in plain double-precision loops that share no code with it, and what its
// outliers must do for the error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

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

// Of [n, n], with the mean of its diagonal times `damping` added to that.
std::vector<double> damped_inverse(std::vector<double> h, std::size_t n, double damping) {
  double mean_diagonal = 0;
  for (std::size_t i = 0; i < n; ++i) mean_diagonal += h[i * n + i] / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) h[i * n + i] += damping * mean_diagonal;
  return inverse_of(h, n);
}

// Algorithm 1 of the paper on w [rows, n]. With `chosen` [rows, n], those weights are the outliers, and left out of
// fits, whatever they cost.
std::vector<double> plain_spqr(std::vector<double> w, std::size_t n, const std::vector<double>& h, double damping,
                               int bits, std::size_t group, double tau, const std::vector<bool>& chosen = {}) {
  const std::size_t rows = w.size() / n;
  const std::vector<double> whole = damped_inverse(h, n, damping);
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
          const bool out_of_fit =
              chosen.empty() ? cost(x, p2, bits, count) - cost(x, p2, bits, k) > threshold : chosen[r * n + j + k];
          if (out_of_fit) {
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
      const bool outlier = chosen.empty() ? std::pow(x - rounded, 2) / pivots2[j] > threshold : chosen[r * n + j];
      if (outlier) rounded = half(x);
      result[r * n + j] = rounded;
      const double error = (x - rounded) / inverse[j * n + j];
      for (std::size_t k = j + 1; k < n; ++k) w[r * n + k] -= error * inverse[k * n + j];
    }
    eliminate(inverse, n, j);
  }
  return result;
}

Target spqr_target(int bits, int group) { return {&codec_named("SPQR"), {bits, group}}; }

// One linear of a layer as the plain procedures want it, its columns in the order of falling diag(H) where asked for.
struct Plain {
  Plain(const Layer& layer, const std::string& linear, bool act_order) {
    const std::vector<float>& weight = layer.model.decoded.at(linear + ".weight");
    const InputStatistics& input = layer.work.input_of(linear);
    n = input.columns(), rows = weight.size() / n;
    for (std::size_t c = 0; c < n; ++c) order.push_back(c);
    const auto before = [&](std::size_t a, std::size_t b) {
      const float x = input.gram[a * n + a], y = input.gram[b * n + b];
      return x != y ? x > y : a < b;
    };
    if (act_order) std::sort(order.begin(), order.end(), before);
    for (std::size_t r = 0; r < rows; ++r) {
      for (const std::size_t c : order) w.push_back(weight[r * n + c]);
    }
    for (const std::size_t a : order) {
      for (const std::size_t b : order) h.push_back(input.gram[a * n + b]);
    }
  }
  // Rows of this order as the weight has them.
  std::vector<double> restored(const std::vector<double>& ordered) const {
    std::vector<double> own(ordered.size());
    for (std::size_t i = 0; i < own.size(); ++i) own[i / n * n + order[i % n]] = ordered[i];
    return own;
  }
  // tr(D H D^T) with D = other - w.
  double error(const std::vector<double>& other) const {
    double total = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t a = 0; a < n; ++a) {
        for (std::size_t b = 0; b < n; ++b) {
          total += h[a * n + b] * (other[r * n + a] - w[r * n + a]) * (other[r * n + b] - w[r * n + b]);
        }
      }
    }
    return total;
  }

  std::size_t rows = 0, n = 0;
  std::vector<std::size_t> order;
  std::vector<double> w, h;  // [rows, n], [n, n]
};

// Floats on one side and doubles on the other now and then round a number the other way, and then the rest of a row, or
// a tile's grids, differ: most rows must be equal.
TEST(Spqr, DoesWhatThePaperSays) {
  for (const bool act_order : {false, true}) {
    for (const float tau : {0.2f, 0.0f}) {
      for (const int group : {16, 24}) {
        Layer layer(test::tiny_llama(), spqr_target(3, group), 5);
        layer.work.options.outlier_threshold = tau;
        layer.work.options.damping = 0.1f;
        layer.work.options.act_order = act_order;
        spqr_method().quantize(layer.work);
        for (const std::string name : {"blk.0.attn_q", "blk.0.ffn_down"}) {
          const PackedTensor& packed = layer.work.packed.at(name + ".weight");
          const std::vector<float> got = packed.to_floats();
          const Plain plain(layer, name, act_order);
          const std::vector<double> expected = plain.restored(
              plain_spqr(plain.w, plain.n, plain.h, 0.1, 3, static_cast<std::size_t>(group), tau > 0 ? tau : 1e300));
          std::size_t equal = 0;
          for (std::size_t row = 0; row < plain.rows; ++row) {
            bool same = true;
            for (std::size_t c = row * plain.n; c < (row + 1) * plain.n; ++c) {
              same &= std::abs(got[c] - expected[c]) < 1e-5;
            }
            equal += same;
          }
          EXPECT_GE(equal, plain.rows * 3 / 4) << name << ", " << group << ", " << tau << ", " << act_order;
          EXPECT_EQ(packed.params.stored > 0, tau > 0);
          EXPECT_EQ(packed.codec->name(), act_order ? "SPQR_ORDERED" : "SPQR");
        }
      }
    }
  }
}

// Linears that read one input have one order, so that the engine prepares that input once.
TEST(Spqr, LinearsOfOneInputShareTheirOrder) {
  Layer layer(test::tiny_llama(), spqr_target(3, 16));
  layer.work.options.act_order = true;
  spqr_method().quantize(layer.work);
  const auto order = [&](const std::string& linear) { return spqr_order(layer.work.packed.at(linear + ".weight")); };
  EXPECT_EQ(order("blk.0.attn_q"), order("blk.0.attn_k"));
  EXPECT_EQ(order("blk.0.attn_q"), order("blk.0.attn_v"));
  EXPECT_EQ(order("blk.0.ffn_gate"), order("blk.0.ffn_up"));
  const Plain plain(layer, "blk.0.ffn_gate", true);
  EXPECT_EQ(order("blk.0.ffn_gate"), std::vector<std::uint32_t>(plain.order.begin(), plain.order.end()));
}

// A threshold that nothing reaches: the levels are GPTQ's under the same grids, all of them, up to the first weight of
// a row that lies on the edge between two levels.
TEST(Spqr, WithoutOutliersItIsGptqUnderItsGrids) {
  for (const bool act_order : {false, true}) {
    std::vector<std::vector<float>> results;
    for (const float tau : {0.0f, INFINITY, 1e20f}) {
      Layer layer(test::tiny_llama(), spqr_target(3, 16), 2);
      layer.work.options.outlier_threshold = tau;
      layer.work.options.damping = 0.01f;
      layer.work.options.act_order = act_order;
      spqr_method().quantize(layer.work);
      std::size_t edges = 0, total = 0;
      for (const std::string name : {"blk.0.attn_v", "blk.0.ffn_gate", "blk.0.ffn_down"}) {
        const PackedTensor& packed = layer.work.packed.at(name + ".weight");
        EXPECT_EQ(packed.params.stored, 0u);
        results.push_back(packed.to_floats());
        Plain plain(layer, name, act_order);
        const std::size_t n = plain.n;
        std::vector<double> inverse = damped_inverse(plain.h, n, 0.01);
        std::vector<bool> cut(plain.rows);
        std::vector<std::vector<std::uint8_t>> levels(plain.rows, std::vector<std::uint8_t>(n));
        std::vector<std::vector<SpqrGrid>> grids(plain.rows);
        for (std::size_t r = 0; r < plain.rows; ++r) {
          spqr_levels(packed, r, levels[r]);
          std::vector<std::uint8_t> scales(spqr_groups(packed.params, n)), zeros(scales.size());
          spqr_codes(packed, r, scales, zeros);
          for (std::size_t g = 0; g < scales.size(); ++g) {
            grids[r].push_back(spqr_tile(packed, r, g).grid(scales[g], zeros[g]));
          }
        }
        for (std::size_t j = 0; j < n; ++j) {
          for (std::size_t r = 0; r < plain.rows; ++r) {
            double& x = plain.w[r * n + j];
            const Grid g{grids[r][j / 16].scale, grids[r][j / 16].zero};
            const double level = level_of(g, x, 3), place = x / g.scale + g.zero;
            if (!cut[r] && std::abs(std::abs(place - std::floor(place)) - 0.5) < 1e-4) cut[r] = true, ++edges;
            if (!cut[r]) {
              ASSERT_EQ(level, levels[r][j]) << name << " [" << r << ", " << j << "]";
            }
            const double error = (x - value_of(g, level)) / inverse[j * n + j];
            for (std::size_t k = j + 1; k < n; ++k) plain.w[r * n + k] -= error * inverse[k * n + j];
          }
          eliminate(inverse, n, j);
        }
        total += plain.rows;
      }
      EXPECT_LT(edges, total / 10);
    }
    for (std::size_t i = 3; i < results.size(); ++i) EXPECT_EQ(results[i], results[i % 3]);
  }
}

// The paper's ablation, 3 bits in groups of 16: about one outlier in a hundred, chosen by what it costs, takes much of
// the error away; as many anywhere, left out of the fits too, take nothing away. Weights have heavy tails, as trained
// ones.
TEST(Spqr, OutliersMustBeTheRightOnes) {
  for (const std::string linear : {"blk.0.attn_q", "blk.0.ffn_gate", "blk.0.ffn_down"}) {
    const auto make_heavy = [&](Layer& layer) {
      std::vector<float>& weight = layer.model.decoded.at(linear + ".weight");
      for (float& w : weight) w *= 8 * std::abs(w);
      layer.work.values(linear + ".weight") = weight;
    };
    Layer original(test::tiny_llama(), spqr_target(3, 16), 4);
    make_heavy(original);
    const Plain plain(original, linear, false);
    std::uint64_t count = 0;
    const auto error_with = [&](float tau) {
      Layer layer(test::tiny_llama(), spqr_target(3, 16), 4);
      make_heavy(layer);
      layer.work.options.outlier_threshold = tau;
      layer.work.options.damping = 0.01f;
      spqr_method().quantize(layer.work);
      const PackedTensor& packed = layer.work.packed.at(linear + ".weight");
      count = packed.params.stored;
      const std::vector<float> got = packed.to_floats();
      return plain.error({got.begin(), got.end()});
    };
    const double none = error_with(0), chosen = error_with(0.8f);
    EXPECT_NEAR(static_cast<double>(count) / static_cast<double>(plain.w.size()), 0.01, 0.005) << linear;
    EXPECT_LT(chosen, 0.7 * none) << linear;
    std::vector<bool> anywhere(plain.w.size());
    std::fill_n(anywhere.begin(), count, true);
    std::mt19937 random(1);
    double sum = 0;
    for (int i = 0; i < 3; ++i) {
      std::shuffle(anywhere.begin(), anywhere.end(), random);
      sum += plain.error(plain_spqr(plain.w, plain.n, plain.h, 0.01, 3, 16, 0, anywhere));
    }
    EXPECT_NEAR(sum / 3 / none, 1, 0.08) << linear;
  }
}

// The lower the threshold, the more outliers and the smaller tr(D H D^T), whatever the order of columns; and it beats
// rounding.
TEST(Spqr, OutliersTakeErrorAway) {
  for (const bool act_order : {false, true}) {
    std::map<std::string, double> before;
    std::map<std::string, std::uint64_t> outliers;
    for (const float tau : {0.0f, 1.0f, 0.5f, 0.3f, 0.2f, 0.1f, 0.05f}) {
      Layer layer(test::tiny_llama(), spqr_target(3, 16));
      layer.work.options.outlier_threshold = tau;
      layer.work.options.damping = 0.01f;
      layer.work.options.act_order = act_order;
      spqr_method().quantize(layer.work);
      for (const std::string linear : {"blk.0.attn_k", "blk.0.ffn_up", "blk.0.ffn_down"}) {
        const double error = layer.output_error(linear);
        const std::uint64_t stored = layer.work.packed.at(linear + ".weight").params.stored;
        if (tau == 0) {
          Layer rounded(test::tiny_llama(), spqr_target(3, 16));
          rtn_method().quantize(rounded.work);
          EXPECT_LT(error, 0.8 * rounded.output_error(linear)) << linear;
          EXPECT_EQ(stored, 0u);
        } else {
          EXPECT_GT(stored, outliers[linear]) << linear << ", " << tau << ", " << act_order;
          EXPECT_LT(error, before[linear]) << linear << ", " << tau << ", " << act_order;
        }
        before[linear] = error, outliers[linear] = stored;
      }
    }
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
