// DGQ against the procedure of its paper in plain double-precision loops, what its second phase and its smoothing must
// do, and planted outliers through the kernel that it is made for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "quant/layer.h"
#include "tensor/codecs/dgq.h"

namespace lathe::quant {
namespace {

Target dgq_target(int group) { return {&codec_named("DGQ"), {4, group}}; }

// Wide enough for half a percent of the columns to be one column.
arch::Architecture wide_llama() {
  arch::Architecture a = test::tiny_llama();
  a.width = 128;
  a.ffn_width = 160;
  a.n_heads = 4, a.n_kv_heads = 2;
  a.head_dim = a.v_head_dim = a.rotary_dim = 32;
  return a;
}

double product(const std::vector<double>& e, const std::vector<float>& gram, std::size_t n, std::size_t first) {
  double sum = 0;
  for (std::size_t i = 0; i < e.size(); ++i) {
    for (std::size_t j = 0; j < e.size(); ++j) sum += e[i] * e[j] * gram[(first + i) * n + first + j];
  }
  return sum;
}

struct Grid {
  double scale = 0;
  int zero = 0;
};

// Phase 1 for one group of one row, columns [first, first + x.size()).
Grid plain_group(const std::vector<double>& x, const std::vector<float>& gram, std::size_t n, std::size_t first) {
  const double low = std::min(0.0, *std::min_element(x.begin(), x.end())),
               high = std::max(0.0, *std::max_element(x.begin(), x.end()));
  double least = INFINITY;
  Grid best;
  for (int i = 1; i <= 20; ++i) {
    const double r = 1.02 - 0.22 * i / 20, scale = r * (high - low) / 15, zero = std::nearbyint(-r * low / scale);
    std::vector<double> e;
    for (const double v : x) e.push_back(v - scale * (std::clamp(std::nearbyint(v / scale) + zero, 0.0, 15.0) - zero));
    const double error = product(e, gram, n, first);
    if (error < least) least = error, best = {scale, static_cast<int>(zero)};
  }
  return best;
}

// A row under a factor: the nearest of the codes that stay within 8 bits, by looking at all.
std::vector<double> plain_row(const std::vector<double>& x, const std::vector<Grid>& grids, std::size_t group,
                              double factor) {
  std::vector<double> rounded;
  for (std::size_t c = 0; c < x.size(); ++c) {
    const Grid& grid = grids[c / group];
    const double scale = std::clamp(std::nearbyint(grid.scale / factor), 1.0, 127.0);
    double best = 0;
    for (int code = 0; code <= 15; ++code) {
      const double value = scale * (code - grid.zero);
      if (std::abs(value) <= 127 && std::abs(factor * value - x[c]) < std::abs(best - x[c])) best = factor * value;
    }
    rounded.push_back(best);
  }
  return rounded;
}

struct PlainResult {
  std::vector<double> values;
  double error = 0, error_of_covering = 0;  // with the factor searched, and with the largest magnitude at 127
};

// Both phases for one row.
PlainResult plain_dgq(const std::vector<double>& x, const std::vector<float>& gram, std::size_t group) {
  const std::size_t n = x.size();
  std::vector<Grid> grids;
  double largest = 0;
  for (const double v : x) largest = std::max(largest, std::abs(v));
  for (std::size_t first = 0; first < n; first += group) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first);
    grids.push_back(
        plain_group({begin, begin + static_cast<std::ptrdiff_t>(std::min(group, n - first))}, gram, n, first));
  }
  PlainResult best;
  best.error = INFINITY;
  const auto error_of = [&](const std::vector<double>& rounded) {
    std::vector<double> e(n);
    for (std::size_t c = 0; c < n; ++c) e[c] = x[c] - rounded[c];
    return product(e, gram, n, 0);
  };
  for (int i = 1; i <= 80; ++i) {
    const std::vector<double> rounded = plain_row(x, grids, group, (1.02 - 0.82 * i / 80) * largest / 127);
    const double error = error_of(rounded);
    if (error < best.error) best.error = error, best.values = rounded;
  }
  best.error_of_covering = error_of(plain_row(x, grids, group, largest / 127));
  return best;
}

// Floats on one side and doubles on the other now and then choose another one of two candidates that are nearly as
// good: nearly all rows must be equal, and no row worse. The second phase must be worth its while.
TEST(Dgq, DoesWhatThePaperSays) {
  for (const int group : {16, 24, 64}) {
    Layer layer(test::tiny_llama(), dgq_target(group), 5);
    layer.work.options.smooth_percentile = 100;
    dgq_method().quantize(layer.work);
    for (const std::string name : {"blk.0.attn_q", "blk.0.ffn_down"}) {
      const std::vector<float>& weight = layer.model.decoded.at(name + ".weight");
      const std::vector<float> got = layer.work.packed.at(name + ".weight").to_floats();
      const auto& gram = layer.work.inputs.at(name)->gram;
      const std::size_t n = layer.work.inputs.at(name)->columns(), rows = weight.size() / n;
      std::size_t equal = 0;
      double searched = 0, covering = 0;
      for (std::size_t row = 0; row < rows; ++row) {
        const auto begin = static_cast<std::ptrdiff_t>(row * n), end = begin + static_cast<std::ptrdiff_t>(n);
        const PlainResult plain =
            plain_dgq({weight.begin() + begin, weight.begin() + end}, gram, static_cast<std::size_t>(group));
        bool same = true;
        std::vector<double> e(n);
        for (std::size_t c = 0; c < n; ++c) {
          same &= std::abs(got[row * n + c] - plain.values[c]) < 1e-5;
          e[c] = double{weight[row * n + c]} - got[row * n + c];
        }
        equal += same;
        EXPECT_LT(product(e, gram, n, 0), 1.02 * plain.error) << name << ", row " << row;
        searched += product(e, gram, n, 0), covering += plain.error_of_covering;
      }
      EXPECT_GE(equal, rows * 9 / 10) << name << ", groups of " << group;
      EXPECT_LT(searched, 0.9 * covering) << name << ", groups of " << group;
    }
  }
}

// Onto a codec whose scales are floats the first phase is all there is to do.
TEST(Dgq, OntoIntegersIsItsFirstPhase) {
  for (const int group : {16, 24}) {
    Layer layer(test::tiny_llama(), {&codec_named("INT_ASYM"), {4, group}}, 5);
    layer.work.options.smooth_percentile = 100;
    dgq_method().quantize(layer.work);
    for (const std::string name : {"blk.0.attn_q", "blk.0.ffn_down"}) {
      const std::vector<float>& weight = layer.model.decoded.at(name + ".weight");
      const std::vector<float> got = layer.work.packed.at(name + ".weight").to_floats();
      const InputStatistics& input = *layer.work.inputs.at(name);
      const std::size_t n = input.columns(), step = static_cast<std::size_t>(group);
      std::size_t groups = 0, equal = 0;
      for (std::size_t first = 0; first < weight.size();
           first += first % n + step < n ? step : n - first % n, ++groups) {
        const std::size_t width = std::min(step, n - first % n);
        const auto begin = weight.begin() + static_cast<std::ptrdiff_t>(first);
        const std::vector<double> x(begin, begin + static_cast<std::ptrdiff_t>(width));
        const Grid grid = plain_group(x, input.gram, n, first % n);
        bool same = true;
        for (std::size_t c = 0; c < width; ++c) {
          const double level = std::clamp(std::nearbyint(x[c] / grid.scale), double(-grid.zero), 15.0 - grid.zero);
          same &= std::abs(got[first + c] - grid.scale * level) < 1e-3 * 15 * grid.scale;  // scales are rounded to F16
        }
        equal += same;
      }
      EXPECT_GE(equal, groups * 9 / 10) << name << ", groups of " << group;
    }
  }
}

TEST(Dgq, LeavesLessErrorThanRoundingWithoutCalibration) {
  Layer rounded(test::tiny_llama(), dgq_target(64)), searched(test::tiny_llama(), dgq_target(64));
  searched.work.options.smooth_percentile = 100;
  rtn_method().quantize(rounded.work);
  dgq_method().quantize(searched.work);
  for (const char* linear : {"blk.0.attn_q", "blk.0.attn_output", "blk.0.ffn_down"}) {
    EXPECT_LT(searched.output_error(linear), 0.95 * rounded.output_error(linear)) << linear;
  }
}

// Columns beyond the k-th largest maximum, k = floor(0.005 n + 1.5), come down to it: by way of the norm where one
// makes the input, of up_proj's rows behind the gate, and not at all between values and attention's output.
TEST(Dgq, SmoothingClipsColumnsBeyondThePercentile) {
  for (const float percentile : {99.5f, 97.0f, 100.0f}) {
    Layer layer(wide_llama(), dgq_target(32));
    layer.work.options.smooth_percentile = percentile;
    const auto scales = [&](const std::string& linear) {
      std::vector<float> largest = layer.work.inputs.at(linear)->largest, scale;
      std::vector<float> sorted = largest;
      std::sort(sorted.rbegin(), sorted.rend());
      const double share = (100.0 - double{percentile}) / 100;
      const float baseline = sorted[static_cast<std::size_t>(share * static_cast<double>(largest.size()) + 1.5) - 1];
      for (const float a : largest) scale.push_back(a > baseline ? a / baseline : 1);
      return scale;
    };
    const std::vector<float> qkv = scales("blk.0.attn_q"), up = scales("blk.0.ffn_up"), down = scales("blk.0.ffn_down");
    const auto moved = [](const std::vector<float>& s) {
      return std::count_if(s.begin(), s.end(), [](float t) { return t > 1; });
    };
    EXPECT_EQ(moved(qkv), percentile == 100 ? 0 : percentile == 97 ? 4 : 1);
    dgq_method().quantize(layer.work);
    EXPECT_EQ(layer.work.packed.contains("blk.0.attn_norm.weight"), percentile < 100);
    const auto expect = [&](const std::string& name, std::size_t n, const auto& scale_at) {
      const std::vector<float>&before = layer.model.decoded.at(name), &after = layer.work.values(name);
      for (std::size_t i = 0; i < before.size(); ++i) {
        ASSERT_NEAR(after[i], before[i] * scale_at(i / n, i % n), 1e-5 * std::abs(after[i])) << name << " " << i;
      }
    };
    expect("blk.0.attn_norm.weight", 128, [&](std::size_t, std::size_t c) { return 1 / qkv[c]; });
    expect("blk.0.ffn_norm.weight", 128, [&](std::size_t, std::size_t c) { return 1 / up[c]; });
    for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
      expect(name, 128, [&](std::size_t, std::size_t c) { return qkv[c]; });
    }
    expect("blk.0.attn_output.weight", 128, [&](std::size_t, std::size_t) { return 1.0f; });
    expect("blk.0.ffn_gate.weight", 128, [&](std::size_t, std::size_t c) { return up[c]; });
    expect("blk.0.ffn_up.weight", 128, [&](std::size_t r, std::size_t c) { return up[c] / down[r]; });
    expect("blk.0.ffn_down.weight", 160, [&](std::size_t, std::size_t c) { return down[c]; });
  }
}

TEST(Dgq, InputsThatAreAllSmallStayAsTheyAre) {
  Layer layer(wide_llama(), dgq_target(32));
  for (float& largest : layer.work.inputs.at("blk.0.attn_q")->largest) largest *= 1e-6f;
  dgq_method().quantize(layer.work);
  EXPECT_FALSE(layer.work.packed.contains("blk.0.attn_norm.weight"));
  EXPECT_TRUE(layer.work.packed.contains("blk.0.ffn_norm.weight"));
}

// One of 128 norm channels made 50 times as large and its weights as much smaller, which changes no output. Squared
// error of 8-bit products with the quantized weight, relative to the outputs.
double error_with_planted(float size, float percentile) {
  constexpr std::size_t kColumns = 128, kOutlier = 77, kTokens = 400;
  Layer layer(wide_llama(), dgq_target(32), 3);
  layer.work.options.smooth_percentile = percentile;
  const std::vector<float> original = layer.model.decoded.at("blk.0.attn_q.weight");
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    std::vector<float>& weight = layer.work.values(name);
    for (std::size_t i = kOutlier; i < weight.size(); i += kColumns) weight[i] /= size;
  }
  layer.work.values("blk.0.attn_norm.weight")[kOutlier] *= size;
  const std::vector<float> norm = layer.work.values("blk.0.attn_norm.weight");

  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> x(kTokens * kColumns);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i % kColumns == kOutlier ? size : 1);
  InputStatistics& input = *layer.work.inputs.at("blk.0.attn_q");
  std::fill(input.gram.begin(), input.gram.end(), 0.0f);
  std::fill(input.largest.begin(), input.largest.end(), 0.0f);
  for (std::size_t t = 0; t < kTokens / 2; ++t) {  // the other half is what the error is measured on
    const float* row = x.data() + t * kColumns;
    for (std::size_t i = 0; i < kColumns; ++i) {
      input.largest[i] = std::max(input.largest[i], std::abs(row[i]));
      for (std::size_t j = 0; j < kColumns; ++j) input.gram[i * kColumns + j] += row[i] * row[j];
    }
  }
  dgq_method().quantize(layer.work);

  const std::vector<float>& folded = layer.work.values("blk.0.attn_norm.weight");
  std::vector<float> seen(x.begin() + kTokens / 2 * kColumns, x.end());
  for (std::size_t i = 0; i < seen.size(); ++i) seen[i] *= folded[i % kColumns] / norm[i % kColumns];
  Linear linear;
  linear.weight = layer.work.packed.at("blk.0.attn_q.weight");
  kernels::Backend& backend = *layer.backend;
  const std::uint64_t rows = seen.size() / kColumns, out = linear.out_features();
  const auto prepared = backend.prepare(linear);
  EXPECT_TRUE(prepared->kernel().starts_with("dgq x q8-row") || prepared->kernel().ends_with("scalar"));
  const auto stream = backend.make_stream();
  const kernels::DeviceBuffer in = backend.upload_floats(*stream, seen);
  const kernels::DeviceBuffer result = backend.allocate(rows * out * sizeof(float));
  const kernels::LinearCall call{prepared.get(), kernels::DeviceTensor::dense(result.data(), rows, out)};
  backend.linear(*stream, kernels::DeviceTensor::dense(in.data(), rows, kColumns), std::span(&call, 1));
  std::vector<float> got(rows * out);
  backend.download(*stream, got.data(), result.data(), result.bytes);
  double error = 0, energy = 0;
  for (std::size_t t = 0; t < rows; ++t) {
    for (std::size_t o = 0; o < out; ++o) {
      double expected = 0;
      for (std::size_t c = 0; c < kColumns; ++c) {
        const double value = x[(kTokens / 2 + t) * kColumns + c];
        expected += value * original[o * kColumns + c] / (c == kOutlier ? double{size} : 1);
      }
      error += std::pow(got[t * out + o] - expected, 2), energy += expected * expected;
    }
  }
  return error / energy;
}

TEST(Dgq, SmoothingTakesPlantedOutliersAway) {
  const double plain = error_with_planted(1, 99.5f);
  EXPECT_GT(error_with_planted(50, 100), 2 * plain);
  EXPECT_LT(error_with_planted(50, 99.5f), 1.1 * plain);
}

TEST(Dgq, ThreadsDoNotChangeItAndBadWeightsAreErrors) {
  Layer layer(wide_llama(), dgq_target(32)), other(wide_llama(), dgq_target(32));
  ThreadPool one(1);
  other.work.pool = &one;
  const auto single = test::cpu(1);
  other.work.backend = single.get();
  dgq_method().quantize(layer.work);
  dgq_method().quantize(other.work);
  for (const auto& [name, tensor] : layer.work.packed) {
    EXPECT_EQ(tensor.to_floats(), other.work.packed.at(name).to_floats());
  }
  layer.work.values("blk.0.attn_q.weight")[7] = NAN;
  try {
    dgq_method().quantize(layer.work);
    FAIL() << "quantized";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blk.0.attn_q.weight"), std::string::npos) << error.what();
  }
}

TEST(Dgq, IsForItsOwnCodecAndIntegersWithZeros) {
  EXPECT_TRUE(dgq_method().can_target(dgq_target(128)));
  EXPECT_TRUE(dgq_method().can_target(int_target("INT_ASYM", 4, 128)));
  EXPECT_FALSE(dgq_method().can_target(int_target("INT_SYM", 4, 128)));
}

}  // namespace
}  // namespace lathe::quant
