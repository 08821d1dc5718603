// The methods on one layer of a small model: GPTQ against the procedure it is a shortcut for, merges against the model
// itself, and what each must improve.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "quant/inverse.h"
#include "quant/layer.h"
#include "quant/merge.h"
#include "tensor/codecs/int_group_fit.h"

namespace lathe::quant {
namespace {

// Optimal brain quantization in fixed order (Frantar et al. 2023, equations 2 and 3), step by step: round a column,
// correct the others by the inverse of what is left of H, and eliminate the column from that inverse.
std::vector<float> by_elimination(std::vector<double> w, std::size_t n, std::vector<double> h, double damping, int bits,
                                  IntGroupKind kind, std::size_t group) {
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += h[i * n + i] / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) h[i * n + i] += damping * mean;
  std::vector<float> diagonal(n);
  for (std::size_t i = 0; i < n; ++i) diagonal[i] = static_cast<float>(h[i * n + i] - damping * mean);
  std::vector<double> inverse = inverse_of(h, n);
  std::vector<float> result(n);
  IntGrid grid;
  for (std::size_t j = 0; j < n; ++j) {
    if (j % group == 0) {
      const std::size_t count = std::min(group, n - j);
      std::vector<float> values(w.begin() + static_cast<std::ptrdiff_t>(j),
                                w.begin() + static_cast<std::ptrdiff_t>(j + count));
      grid = fit_int_grid(values, std::span(diagonal).subspan(j, count), bits, kind);
    }
    result[j] = grid.value(nearest_int_level(grid, static_cast<float>(w[j]), bits));
    const double error = (w[j] - result[j]) / inverse[j * n + j];
    for (std::size_t k = j + 1; k < n; ++k) w[k] -= error * inverse[k * n + j];
    for (std::size_t r = j + 1; r < n; ++r) {
      for (std::size_t c = j + 1; c < n; ++c) {
        inverse[r * n + c] -= inverse[r * n + j] * inverse[j * n + c] / inverse[j * n + j];
      }
    }
  }
  return result;
}

// Floats on one side and doubles on the other now and then round a weight the other way, and then all later ones of the
// row differ: nearly all rows must be equal.
TEST(Gptq, DoesWhatEliminatingColumnsOneByOneDoes) {
  for (const std::string codec : {"INT_SYM", "INT_ASYM", "BIPOLAR"}) {
    const IntGroupKind kind = int_group_codec(codec_named(codec))->kind();
    for (const int group : {16, 24, 64, 0}) {
      Layer layer(test::tiny_llama(), int_target(codec, 3, group), 5);
      gptq_method().quantize(layer.work);
      const std::string name = "blk.0.attn_q";
      const std::vector<float> weight = layer.model.decoded.at(name + ".weight"),
                               got = layer.work.packed.at(name + ".weight").to_floats();
      const auto& gram = layer.work.inputs.at(name)->gram;
      const std::size_t n = layer.work.inputs.at(name)->columns(), rows = weight.size() / n;
      std::size_t equal = 0;
      for (std::size_t row = 0; row < rows; ++row) {
        const std::vector<double> w(weight.begin() + static_cast<std::ptrdiff_t>(row * n),
                                    weight.begin() + static_cast<std::ptrdiff_t>((row + 1) * n));
        const std::vector<float> expected = by_elimination(w, n, {gram.begin(), gram.end()}, 0.01, 3, kind,
                                                           group == 0 ? n : static_cast<std::size_t>(group));
        equal += std::equal(expected.begin(), expected.end(), got.begin() + static_cast<std::ptrdiff_t>(row * n));
      }
      EXPECT_GE(equal, rows * 9 / 10) << group;
    }
  }
}

TEST(Gptq, LeavesLessErrorThanRounding) {
  for (const bool act_order : {false, true}) {
    for (const Target& target :
         {int_target("INT_SYM", 2, 32), int_target("INT_ASYM", 4, 0), Target{&codec_named("Q4_0"), {}}}) {
      Layer rounded(test::tiny_llama(), target), corrected(test::tiny_llama(), target);
      corrected.work.options.act_order = act_order;
      rtn_method().quantize(rounded.work);
      gptq_method().quantize(corrected.work);
      for (const char* linear : {"blk.0.attn_q", "blk.0.attn_output", "blk.0.ffn_down"}) {
        EXPECT_LT(corrected.output_error(linear), 0.8 * rounded.output_error(linear))
            << linear << ", " << target.text();
      }
    }
  }
}

TEST(Gptq, BearsDeadColumnsAndSaysWhatCannotBeDone) {
  Layer layer(test::tiny_llama(), int_target("INT_SYM", 4, 32));
  const auto input = layer.work.inputs.at("blk.0.attn_q");
  const std::size_t n = input->columns();
  for (std::size_t i = 0; i < n; ++i) input->gram[5 * n + i] = input->gram[i * n + 5] = 0;
  gptq_method().quantize(layer.work);
  for (const float value : layer.work.packed.at("blk.0.attn_q.weight").to_floats()) EXPECT_TRUE(std::isfinite(value));

  Layer singular(test::tiny_llama(), int_target("INT_SYM", 4, 32));
  const auto other = singular.work.inputs.at("blk.0.attn_q");
  for (std::size_t i = 0; i < n * n; ++i) other->gram[i] = i % (n + 1) == 0 ? 1.0f : 100.0f;  // no Gram matrix at all
  EXPECT_THROW(gptq_method().quantize(singular.work), Error);

  Layer poisoned(test::tiny_llama(), int_target("INT_SYM", 4, 32));
  poisoned.work.values("blk.0.attn_q.weight")[7] = NAN;
  EXPECT_THROW(gptq_method().quantize(poisoned.work), Error);
}

TEST(Gptq, ThreadsDoNotChangeIt) {
  Layer layer(test::tiny_llama(), int_target("INT_ASYM", 3, 16)),
      other(test::tiny_llama(), int_target("INT_ASYM", 3, 16));
  ThreadPool one(1);
  other.work.pool = &one;
  gptq_method().quantize(layer.work);
  gptq_method().quantize(other.work);
  for (const auto& [name, tensor] : layer.work.packed)
    EXPECT_EQ(tensor.to_floats(), other.work.packed.at(name).to_floats());
}

// Scales of all kinds folded into every site: the model's outputs stay what they were.
TEST(Merge, ChangesNothing) {
  std::vector<std::pair<arch::Architecture, std::size_t>> shapes = {{test::tiny_llama(), 4}, {test::tiny_gpt2(), 3}};
  shapes.push_back({test::tiny_llama(), 4});
  shapes.back().first.n_kv_heads = shapes.back().first.n_heads;
  for (auto& [shape, sites] : shapes) {
    Layer layer(shape, int_target("INT_SYM", 8, 0));
    const std::vector<std::int32_t> ids = test::random_ids(20, shape.vocab_size, 3);
    const std::vector<float> before = test::Executor(layer.model, layer.backend).logits(ids);
    std::mt19937 random(9);
    const std::vector<ScaleSite> found = scale_sites(layer.work);
    EXPECT_EQ(found.size(), sites) << shape.family;
    for (const ScaleSite& site : found) {
      std::vector<float> scale(site.row_of.size());
      for (float& s : scale) s = std::exp(static_cast<float>(random() % 1000) / 250 - 2);
      tie_scale(site, scale);
      fold_scale(layer.work, site, scale);
    }
    TinyModel changed = layer.model;
    for (const auto& [name, values] : layer.work.floats) {
      changed.weights.remove(name);
      changed.weights.add(pack(name, codec_named("F32"), layer.work.shape(name), values));
    }
    const std::vector<float> after = test::Executor(changed, layer.backend).logits(ids);
    EXPECT_LT(test::relative_error(after, std::vector<double>(before.begin(), before.end())), 2e-5) << shape.family;
  }
}

TEST(Awq, HelpsWhereSomeInputsAreLarge) {
  Layer rounded(test::tiny_llama(), int_target("INT_SYM", 3, 32)),
      scaled(test::tiny_llama(), int_target("INT_SYM", 3, 32));
  rtn_method().quantize(rounded.work);
  awq_method().quantize(scaled.work);
  // The error in the input's own units: columns and statistics are scaled alike, so output_error would need the scaled
  // weights; instead compare the products' error through the folded weights.
  scaled.model.decoded["blk.0.attn_q.weight"] = scaled.work.values("blk.0.attn_q.weight");
  EXPECT_LT(scaled.output_error("blk.0.attn_q"), 0.8 * rounded.output_error("blk.0.attn_q"));
  EXPECT_EQ(scaled.work.packed.at("blk.0.attn_norm.weight").codec->name(), "F32");
}

TEST(Targets, BlockCodecsHoldTheSameNumbersAsTheirGrid) {
  std::mt19937 random(4);
  for (const char* name : {"Q4_0", "Q5_0", "Q8_0"}) {
    const Target target{&codec_named(name), {}};
    const Target grid = integer_grid(target).value().target;
    std::vector<std::uint8_t> levels(6 * 96);
    for (auto& level : levels) level = static_cast<std::uint8_t>(random() & ((1u << grid.params.bits) - 1));
    std::vector<IntGrid> grids(6 * 3);
    for (IntGrid& g : grids)
      g = {static_cast<float>(random() % 64) / 32 - 1, fixed_zero(IntGroupKind::kSymmetric, grid.params.bits)};
    const PackedTensor integers =
        pack_int_groups("w", *int_group_codec(*grid.codec), Shape{6, 96}, grid.params, levels, grids);
    EXPECT_EQ(from_integer_grid(integers, target).to_floats(), integers.to_floats()) << name;
  }
  EXPECT_FALSE(integer_grid({&codec_named("Q4_K"), {}}).has_value());
}

// ABQ-LLM's bit balance: the fifth level of "2 bits" takes away more than half of what rounding to four costs.
TEST(Gptq, BalancedLevelsLoseLess) {
  Layer four(test::tiny_llama(), int_target("INT_SYM", 2, 32), 5),
      five(test::tiny_llama(), int_target("BALANCED", 2, 32), 5);
  gptq_method().quantize(four.work);
  gptq_method().quantize(five.work);
  for (const char* linear : {"blk.0.attn_q", "blk.0.ffn_down"}) {
    EXPECT_EQ(five.work.packed.at(std::string(linear) + ".weight").codec->name(), "BALANCED");
    EXPECT_LT(five.output_error(linear), 0.75 * four.output_error(linear)) << linear;
  }
}

TEST(Methods, AreFoundByName) {
  for (const Method* method : all_methods()) EXPECT_EQ(&method_named(method->name()), method);
  EXPECT_THROW(method_named("gtpq"), UsageError);
}

}  // namespace
}  // namespace lathe::quant
