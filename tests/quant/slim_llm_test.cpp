// SliM-LLM against the procedure of its paper in plain double-precision loops (only the fit of one group's grid is the
// library's, which tests/tensor holds to a search), and what its maps of widths must be and do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "quant/inverse.h"
#include "quant/layer.h"
#include "quant/slim_widths.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/slim.h"
#include "tensor/codecs/slim_fit.h"

namespace lathe::quant {
namespace {

using Doubles = std::vector<double>;
using Widths = std::vector<std::uint8_t>;

Target slim_target(int bits, int group) { return {&codec_named("SLIM"), {bits, group}}; }

// Makes blocks of columns of every weight matter differently: the second of each four has large weights, the third
// small ones.
void structure(Layer& layer, std::size_t group) {
  for (const Linears& linears : layer.work.linears_by_input()) {
    for (const std::string& linear : linears) {
      const std::string name = linear + ".weight";
      const std::size_t n = layer.work.shape(name).cols();
      std::vector<float>& weight = layer.model.decoded.at(name);
      for (std::size_t i = 0; i < weight.size(); ++i) {
        constexpr float kSizes[] = {1, 3, 0.2f, 1};
        weight[i] *= kSizes[i % n / group % 4];
      }
      layer.work.values(name) = weight;
    }
  }
}

// Rounds a group as the codec would.
void round_group(const double* x, const double* costs, std::size_t count, int width, double* out) {
  std::vector<float> values(x, x + count), weights(costs, costs + count);
  const IntGrid grid = fit_slim_grid(values, weights, width);
  for (std::size_t i = 0; i < count; ++i) out[i] = grid.value(nearest_int_level(grid, values[i], width));
}

Doubles softmax_logarithms(const Doubles& weight, std::size_t n, const float* x) {
  const std::size_t rows = weight.size() / n;
  Doubles logits(rows);
  double sum = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < n; ++c) logits[r] += weight[r * n + c] * x[c];
    sum += std::exp(logits[r]);
  }
  for (double& logit : logits) logit -= std::log(sum);
  return logits;
}

struct Problem {
  std::size_t n = 0, rows = 0;
  Doubles weight, diagonal, pivots2;  // pivots2: squared, of the damped inverse
  Doubles inverse;
  std::vector<float> sample;

  Problem(Layer& layer, const std::string& name, double damping) {
    const std::vector<float>& w = layer.model.decoded.at(name + ".weight");
    const InputStatistics& input = *layer.work.inputs.at(name);
    n = input.columns(), rows = w.size() / n;
    weight.assign(w.begin(), w.end());
    sample = input.sample;
    Doubles h(input.gram.begin(), input.gram.end());
    double mean = 0;
    for (std::size_t i = 0; i < n; ++i) diagonal.push_back(h[i * n + i]), mean += h[i * n + i] / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i) h[i * n + i] += damping * mean;
    inverse = inverse_of(h, n);
    Doubles rest = inverse;
    for (std::size_t j = 0; j < n; ++j) pivots2.push_back(rest[j * n + j]), eliminate(rest, j);
  }
  void eliminate(Doubles& m, std::size_t j) const {
    for (std::size_t r = j + 1; r < n; ++r) {
      for (std::size_t c = j + 1; c < n; ++c) m[r * n + c] -= m[r * n + j] * m[j * n + c] / m[j * n + j];
    }
  }
  double salience(double w, std::size_t c) const { return w * w / pivots2[c]; }

  // Blocks by rising salience.
  std::vector<std::size_t> order(std::size_t group) const {
    Doubles sums(n / group);
    for (std::size_t i = 0; i < weight.size(); ++i) {
      if (i % n / group < sums.size()) sums[i % n / group] += salience(weight[i], i % n);
    }
    std::vector<std::size_t> blocks(sums.size());
    std::iota(blocks.begin(), blocks.end(), std::size_t{0});
    std::sort(blocks.begin(), blocks.end(), [&](std::size_t a, std::size_t b) { return sums[a] < sums[b]; });
    return blocks;
  }
  // Mean over the sample of KL(rounded || original) between softmaxes over the outputs.
  double divergence(const Widths& widths, std::size_t group) const {
    Doubles rounded(weight.size());
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < n; c += group) {
        round_group(&weight[r * n + c], &diagonal[c], std::min(group, n - c), widths[c / group], &rounded[r * n + c]);
      }
    }
    double total = 0;
    for (std::size_t t = 0; t < sample.size(); t += n) {
      const Doubles q = softmax_logarithms(rounded, n, &sample[t]), p = softmax_logarithms(weight, n, &sample[t]);
      for (std::size_t r = 0; r < rows; ++r) total += std::exp(q[r]) * (q[r] - p[r]);
    }
    return total * static_cast<double>(n) / static_cast<double>(sample.size());
  }
  // The paper's search, with none as a candidate too.
  Widths choose(int bits, std::size_t group) const {
    const std::vector<std::size_t> blocks = order(group);
    Widths best;
    double least = INFINITY;
    for (std::size_t pairs = 0; pairs < std::max<std::size_t>(1, blocks.size() / 2); ++pairs) {
      Widths widths((n + group - 1) / group, static_cast<std::uint8_t>(bits));
      for (std::size_t i = 0; i < pairs; ++i) --widths[blocks[i]], ++widths[blocks[blocks.size() - 1 - i]];
      const double loss = divergence(widths, group);
      if (loss < least) least = loss, best = widths;
    }
    return best;
  }
  // GPTQ with blocks for groups; errors of salient weights count `factor` times as much for the grids.
  Doubles compensate(const Widths& widths, std::size_t group, double factor) const {
    Doubles w = weight, result(w.size()), inv = inverse;
    std::vector<IntGrid> grids(rows);
    for (std::size_t j = 0; j < n; ++j) {
      if (j % group == 0) {
        const std::size_t count = std::min(group, n - j);
        double sum = 0, squares = 0;
        const double all = static_cast<double>(rows * count);
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t c = j; c < j + count; ++c) {
            const double s = salience(weight[r * n + c], c);
            sum += s, squares += s * s;
          }
        }
        const double mean = sum / all, threshold = mean + 2 * std::sqrt(squares / all - mean * mean);
        for (std::size_t r = 0; r < rows; ++r) {
          Doubles costs(count);
          for (std::size_t i = 0; i < count; ++i) {
            costs[i] = (salience(w[r * n + j + i], j + i) >= threshold ? factor : 1) / pivots2[j + i];
          }
          std::vector<float> values(&w[r * n + j], &w[r * n + j] + count), weights(costs.begin(), costs.end());
          grids[r] = fit_slim_grid(values, weights, widths[j / group]);
        }
      }
      for (std::size_t r = 0; r < rows; ++r) {
        const double x = w[r * n + j];
        const int level = nearest_int_level(grids[r], static_cast<float>(x), widths[j / group]);
        result[r * n + j] = grids[r].value(level);
        const double error = (x - result[r * n + j]) / inv[j * n + j];
        for (std::size_t k = j + 1; k < n; ++k) w[r * n + k] -= error * inv[k * n + j];
      }
      eliminate(inv, j);
    }
    return result;
  }
};

// Floats on one side and doubles on the other now and then round a number the other way, and then the rest of a row
// differs: most rows must be equal. The widths must be the same.
TEST(SlimLlm, DoesWhatThePaperSays) {
  std::size_t mixed = 0;
  for (const int bits : {2, 3}) {
    for (const auto& [group, factor] : {std::pair{8, 1.0f}, {8, 5.0f}, {24, 2.0f}}) {
      Layer layer(test::tiny_llama(), slim_target(bits, group), 5);
      structure(layer, static_cast<std::size_t>(group));
      layer.work.options.damping = 0.1f;
      layer.work.options.salience_weight = factor;
      slim_llm_method().quantize(layer.work);
      for (const std::string name : {"blk.0.attn_q", "blk.0.ffn_down"}) {
        SCOPED_TRACE(fmt::format("{}, {} bits, blocks of {}, {}", name, bits, group, factor));
        const Problem plain(layer, name, 0.1);
        const auto size = static_cast<std::size_t>(group);
        const PackedTensor& packed = layer.work.packed.at(name + ".weight");
        const Widths widths = slim_widths(packed);
        mixed += packed.params.stored != 0;
        const bool mixes = plain.n / size >= kLeastMixedBlocks;
        EXPECT_EQ(widths, mixes ? plain.choose(bits, size) : Widths(widths.size(), static_cast<std::uint8_t>(bits)));
        const Doubles expected = plain.compensate(widths, size, factor);
        const std::vector<float> got = packed.to_floats();
        std::size_t equal = 0;
        for (std::size_t row = 0; row < plain.rows; ++row) {
          bool same = true;
          for (std::size_t i = row * plain.n; i < (row + 1) * plain.n; ++i)
            same &= std::abs(got[i] - expected[i]) < 1e-5;
          equal += same;
        }
        EXPECT_GE(equal, plain.rows * 3 / 4);
      }
    }
  }
  EXPECT_GE(mixed, 8u);  // or little was tested
}

// Every linear has exactly N bits on average, whatever its widths are, and its bytes are theirs. Some do differ.
TEST(SlimLlm, TheAverageIsExact) {
  for (const int bits : {2, 3, 5}) {
    for (const int group : {8, 24}) {
      Layer layer(test::tiny_llama(), slim_target(bits, group));
      structure(layer, static_cast<std::size_t>(group));
      slim_llm_method().quantize(layer.work);
      std::size_t mixed = 0;
      for (const auto& [name, tensor] : layer.work.packed) {
        const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols();
        const Widths widths = slim_widths(tensor);
        std::uint64_t total = 0;
        for (std::uint64_t c = 0; c < cols; ++c) total += widths[c / static_cast<std::uint64_t>(group)];
        EXPECT_EQ(total, static_cast<std::uint64_t>(bits) * cols) << name;
        const bool differ = std::count(widths.begin(), widths.end(), bits) != static_cast<long>(widths.size());
        EXPECT_EQ(tensor.bytes(), rows * (total / 8 + 3 * widths.size()) + (differ ? widths.size() : 0)) << name;
        mixed += differ;
      }
      EXPECT_GT(mixed, 0u);
    }
  }
}

// The map that was chosen is better than the same widths at random, and those are better than the reversed map.
TEST(SlimLlm, SalienceSaysWhereTheBitsBelong) {
  Layer layer(test::tiny_llama(), slim_target(2, 8), 3);
  structure(layer, 8);
  slim_llm_method().quantize(layer.work);
  std::mt19937 random(1);
  std::size_t mixed = 0;
  for (const std::string name : {"blk.0.attn_q", "blk.0.attn_output", "blk.0.ffn_up", "blk.0.ffn_down"}) {
    SCOPED_TRACE(name);
    const Widths chosen = slim_widths(layer.work.packed.at(name + ".weight"));
    if (std::count(chosen.begin(), chosen.end(), 2) == static_cast<long>(chosen.size())) continue;
    ++mixed;
    const InputStatistics& input = *layer.work.inputs.at(name);
    std::vector<float> importance = input.mean_squares();
    OutputDivergence divergence(layer.model.decoded.at(name + ".weight"), importance, layer.work.target.params,
                                input.sample, chosen, layer.pool);
    const auto loss_of = [&](const Widths& widths) {
      for (std::size_t b = 0; b < widths.size(); ++b) divergence.set_width(b, widths[b]);
      return divergence.mean();
    };
    const double best = divergence.mean();
    EXPECT_LT(best, loss_of(Widths(chosen.size(), 2)));
    Widths reversed = chosen;
    for (std::uint8_t& width : reversed) width = static_cast<std::uint8_t>(4 - width);
    const double worst = loss_of(reversed);
    double sum = 0;
    int better = 0;
    constexpr int kMaps = 20;
    for (int i = 0; i < kMaps; ++i) {
      Widths shuffled = chosen;
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      const double loss = loss_of(shuffled);
      better += loss < best;
      sum += loss;
    }
    EXPECT_LE(better, 2);  // the search tries few maps of all
    EXPECT_LT(best, 0.9 * sum / kMaps);
    EXPECT_GT(worst, sum / kMaps);
    EXPECT_NEAR(loss_of(chosen), best, 1e-4 * best);  // there and back
  }
  EXPECT_GE(mixed, 2u);
}

TEST(SlimLlm, EvenWidthsWhereNothingStandsOut) {
  Layer layer(test::tiny_llama(), slim_target(2, 8));
  const std::size_t n = 64;
  InputStatistics input;
  input.largest.resize(n, 1), input.gram.resize(n * n);
  for (std::size_t i = 0; i < n; ++i) input.gram[i * n + i] = 4;
  const Hessian hessian = factorise(input, 0.01f, false, "test", layer.pool);
  std::vector<float> weight(16 * n), sample(10 * n);
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = (i * 7 + i / n) % 2 == 0 ? 0.5f : -0.5f;
  for (std::size_t i = 0; i < sample.size(); ++i) sample[i] = static_cast<float>(i % 11) - 5;
  const CodecParams params{2, 8};
  EXPECT_EQ(choose_widths(weight, hessian, params, sample, layer.pool), Widths(8, 2));
  weight[5] = 3;  // and now something does
  weight[77] = 0.1f;
  const std::vector<double> saliences = block_saliences(weight, hessian, params);
  EXPECT_EQ(std::max_element(saliences.begin(), saliences.end()) - saliences.begin(), 0);
  EXPECT_EQ(std::min_element(saliences.begin(), saliences.end()) - saliences.begin(), 1);
  // At most three whole blocks of 40: too few.
  Layer few(test::tiny_llama(), slim_target(2, 40));
  slim_llm_method().quantize(few.work);
  for (const auto& [name, tensor] : few.work.packed) EXPECT_EQ(tensor.params.stored, 0u) << name;
  Layer even(test::tiny_llama(), slim_target(2, 8));
  even.work.options.even_widths = true;
  slim_llm_method().quantize(even.work);
  for (const auto& [name, tensor] : even.work.packed) EXPECT_EQ(tensor.params.stored, 0u) << name;
}

// The error in the outputs: rounding, compensation, compensation with widths by salience.
TEST(SlimLlm, WidthsAndCompensationEachTakeErrorAway) {
  const auto error = [](const Method& method, bool even) {
    Layer layer(test::tiny_llama(), slim_target(2, 8), 3);
    structure(layer, 8);
    layer.work.options.even_widths = even;
    method.quantize(layer.work);
    return layer.output_error("blk.0.ffn_up") + layer.output_error("blk.0.attn_q");
  };
  const double even = error(slim_llm_method(), true), mixed = error(slim_llm_method(), false);
  EXPECT_LT(mixed, 0.9 * even);
  EXPECT_LT(mixed, 0.8 * error(rtn_method(), true));  // whose widths are by the blocks' squares
}

TEST(SlimLlm, ThreadsDoNotChangeItAndBadWeightsAreErrors) {
  Layer layer(test::tiny_llama(), slim_target(3, 8)), other(test::tiny_llama(), slim_target(3, 8));
  ThreadPool one(1);
  other.work.pool = &one;
  slim_llm_method().quantize(layer.work);
  slim_llm_method().quantize(other.work);
  for (const auto& [name, tensor] : layer.work.packed) {
    EXPECT_EQ(tensor.to_floats(), other.work.packed.at(name).to_floats());
  }
  layer.work.values("blk.0.attn_q.weight")[7] = NAN;
  EXPECT_THROW(slim_llm_method().quantize(layer.work), Error);
  other.work.values("blk.0.attn_q.weight")[7] = 1e7f;
  EXPECT_THROW(slim_llm_method().quantize(other.work), Error);
}

}  // namespace
}  // namespace lathe::quant
