// SmoothQuant+ on whole models: what it gives back where planted outliers make rounding lose, whether the strength that
// it settles on is the best of those there are by a measure taken from the files alone, and its folds in every family.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "arch/families.h"
#include "quant/layer.h"
#include "quant/merge.h"
#include "quant/planted.h"
#include "quant/quantize_model.h"

namespace lathe::quant {
namespace {

// SmoothQuant+ as it is, its measurements written down.
class Watched final : public Method {
 public:
  std::string_view name() const override { return inner_.name(); }
  std::string_view description() const override { return inner_.description(); }
  std::string_view paper() const override { return inner_.paper(); }
  Needs needs() const override { return inner_.needs(); }
  bool can_target(const Target& target) const override { return inner_.can_target(target); }
  void quantize(LayerWork& work) const override { inner_.quantize(work); }
  void prepare(MethodOptions& options, const WholeModel& model) const override {
    inner_.prepare(options, {[&](const MethodOptions& trial) { return losses[trial.alpha] = model.loss(trial); },
                             model.each_layer});
    chosen = options.alpha;
  }

  mutable std::map<float, double> losses;  // by strength
  mutable float chosen = -1;

 private:
  const Method& inner_ = smoothquant_plus_method();
};

// What every layer passes on, over all sequences.
class LayerOutputs final : public model::ForwardHooks {
 public:
  bool on_layer_output(int layer, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override {
    std::vector<float> rows(x.rows * x.cols);
    backend.download(stream, rows.data(), x.data, rows.size() * sizeof(float));
    std::vector<float>& all = by_layer[layer];
    all.insert(all.end(), rows.begin(), rows.end());
    return true;
  }
  std::map<int, std::vector<float>> by_layer;
};

class SmoothQuantPlus : public testing::Test {
 protected:
  QuantizeOptions options(const Method& method) const {
    QuantizeOptions o;
    o.method = &method;
    o.target = int_target("INT_ASYM", 4, 64);
    o.calibration_source = "a text";
    for (int i = 0; i < 150; ++i) {
      o.calibration_text +=
          "Once upon a time there was a little girl who loved her big dog. One day she went to the park and saw a red "
          "ball. \"Can I play with it?\" she asked. The boy said yes, and they were very happy. ";
    }
    o.calibration = {4, 64};
    o.threads = 2;
    o.progress = false;
    return o;
  }
  formats::ModelFile quantized(const formats::ModelFile& model, const QuantizeOptions& o) const {
    quantize_model(model, folder_ / "out.lathe", o);
    return formats::load_model(folder_ / "out.lathe");
  }
  // On a text that calibration has not seen.
  double off(const formats::ModelFile& model) const { return distance(plain_, model, held_out_); }
  // What the method's search is after, taken from two models alone: the mean over layers of the squared difference of
  // their outputs on the calibration text, the last one's behind the final norm, relative to the original's squares.
  double loss(const formats::ModelFile& model) const {
    const QuantizeOptions o = options(smoothquant_plus_method());
    const Sequences sequences = calibration_sequences(o.calibration_text, "", *model.tokenizer, o.calibration);
    const auto outputs = [&](const formats::ModelFile& m) {
      test::Executor executor(m.architecture, m.weights, test::cpu(2));
      LayerOutputs hooks;
      std::vector<float> last;
      for (const auto& ids : sequences) {
        const auto state = executor.sequence();
        const model::Segment segment{ids};
        const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
        model::ForwardOptions forward;
        forward.hooks = &hooks;
        forward.hidden_only = true;
        executor.forward().forward({&input, 1}, forward, [&](std::size_t, std::uint64_t, std::span<const float> row) {
          last.insert(last.end(), row.begin(), row.end());
        });
      }
      hooks.by_layer.rbegin()->second = last;
      return hooks.by_layer;
    };
    const auto expected = outputs(planted_), got = outputs(model);
    double mean = 0;
    for (const auto& [layer, values] : expected) {
      double error = 0, energy = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        error += std::pow(double{values[i]} - got.at(layer)[i], 2);
        energy += double{values[i]} * values[i];
      }
      mean += error / energy / static_cast<double>(expected.size());
    }
    return mean;
  }

  test::TempDir folder_;
  const formats::ModelFile plain_ = planted_model(1, {}), planted_ = planted_model(64, {5, 19, 37, 50});
  const std::vector<std::int32_t> held_out_ = plain_.tokenizer->encode(
      "Tom and his mom lived in a small house near the sea. Every morning Tom ran down to the "
      "water to look for shells. \"Be careful!\" his mom said. He found a blue one and gave it "
      "to her, and she smiled.",
      {.add_special = true, .parse_special = false});
};

// 4 bits, groups of 64: what the planted channel costs plain rounding beyond what rounding costs anyway.
TEST_F(SmoothQuantPlus, GivesBackWhatPlantedOutliersTakeAway) {
  EXPECT_EQ(off(planted_), 0);  // the same function
  const double plain = off(quantized(plain_, options(rtn_method()))),
               rounded = off(quantized(planted_, options(rtn_method())));
  const Watched method;
  const double smoothed = off(quantized(planted_, options(method)));
  EXPECT_GT(rounded, 5 * plain);
  EXPECT_GT(rounded - smoothed, 0.8 * (rounded - plain)) << plain << ", " << rounded << ", " << smoothed;
}

// The grid of section 2 and no smoothing at all; the losses are those of the files that the strengths make, and the
// strength chosen is the one with the least, which is also a good one for a text that calibration has not seen.
TEST_F(SmoothQuantPlus, SettlesOnTheStrengthOfTheLeastLoss) {
  const Watched method;
  quantized(planted_, options(method));
  ASSERT_EQ(method.losses.size(), 22u);
  const auto [least, most] = std::minmax_element(method.losses.begin(), method.losses.end(),
                                                 [](const auto& a, const auto& b) { return a.second < b.second; });
  EXPECT_EQ(method.chosen, least->first);
  EXPECT_EQ(most->first, method.losses.rbegin()->first) << "no smoothing, which is beyond 1, loses most";
  EXPECT_GT(most->second, 3 * least->second);
  double best = INFINITY;
  for (const auto& [alpha, measured] : method.losses) {
    const int step = static_cast<int>(std::lround(alpha / 0.05f));
    EXPECT_NEAR(alpha, 0.05 * step, 1e-6);
    if (step % 4 != 0) continue;
    QuantizeOptions fixed = options(smoothquant_plus_method());
    fixed.method_options.alpha = alpha;
    const formats::ModelFile model = quantized(planted_, fixed);
    EXPECT_NEAR(loss(model), measured, 0.01 * measured) << alpha;
    best = std::min(best, off(model));
  }
  QuantizeOptions chosen = options(smoothquant_plus_method());
  chosen.method_options.alpha = method.chosen;
  EXPECT_LT(off(quantized(planted_, chosen)), 1.25 * best) << method.chosen;
}

// --- folds ---

struct Folds {
  const char* family;
  std::vector<std::pair<std::string, std::size_t>> sites;  // what a scale is folded into, and how many linears read it
};

const std::vector<std::pair<std::string, std::size_t>> kGated = {{"blk.0.attn_norm", 3},
                                                                 {"blk.0.attn_v", 1},
                                                                 {"blk.0.ffn_norm", 2},
                                                                 {"blk.0.ffn_up", 1}},
                                                       kFused = {{"blk.0.attn_norm", 1},
                                                                 {"blk.0.attn_qkv", 1},
                                                                 {"blk.0.ffn_norm", 1}};

// Every family of decoders without experts; what is behind a plain activation function has no site. Blocks that share a
// norm between attention and feed-forward part (GPT-J, Phi-2, Falcon) have one site for both.
class FoldsOfFamilies : public testing::TestWithParam<Folds> {};

arch::Architecture narrow(const char* family) {
  arch::Architecture a = arch::small_shape(arch::family_named(family, "test"));
  a.n_layers = 2, a.width = 64, a.ffn_width = 96, a.vocab_size = 96, a.context_length = 256;
  const bool all_heads = a.n_kv_heads == a.n_heads, one = a.n_kv_heads == 1, rotates = a.rotary_dim > 0;
  a.n_heads = 4, a.n_kv_heads = all_heads ? 4 : one ? 1 : 2;
  a.head_dim = a.v_head_dim = 16;
  a.rotary_dim = rotates ? 16 : 0;
  if (!a.full_layers.empty()) a.full_layers.resize(a.n_layers);
  return a;
}

TEST_P(FoldsOfFamilies, ChangeNothing) {
  Layer layer(narrow(GetParam().family), int_target("INT_SYM", 8, 0), 3);
  const std::vector<std::int32_t> ids = test::random_ids(30, 96, 3);
  const std::vector<float> before = test::Executor(layer.model, layer.backend).logits(ids);
  std::mt19937 random(9);
  std::vector<std::pair<std::string, std::size_t>> found;
  for (const ScaleSite& site : scale_sites(layer.work)) {
    found.emplace_back(site.norm + site.linear, site.consumers.size());
    std::vector<float> scale(site.row_of.size());
    for (float& s : scale) s = std::exp(static_cast<float>(random() % 1000) / 250 - 2);
    tie_scale(site, scale);
    fold_scale(layer.work, site, scale);
  }
  EXPECT_EQ(found, GetParam().sites);
  TinyModel changed = layer.model;
  for (const auto& [name, values] : layer.work.floats) {
    changed.weights.remove(name);
    changed.weights.add(pack(name, codec_named("F32"), layer.work.shape(name), values));
  }
  const std::vector<float> after = test::Executor(changed, layer.backend).logits(ids);
  EXPECT_LT(test::relative_error(after, std::vector<double>(before.begin(), before.end())), 2e-5);
}

const Folds kFamilies[] = {
    {"llama", kGated},
    {"mistral", kGated},
    {"qwen2", kGated},
    {"qwen3", kGated},
    {"gemma", kGated},
    {"gemma2", kGated},
    {"gemma3", kGated},
    {"stablelm", kGated},
    {"phi3", {{"blk.0.attn_norm", 1}, {"blk.0.attn_qkv", 1}, {"blk.0.ffn_norm", 1}, {"blk.0.ffn_up", 1}}},
    {"bitnet", {{"blk.0.attn_norm", 3}, {"blk.0.attn_sub_norm", 1}, {"blk.0.ffn_norm", 2}, {"blk.0.ffn_sub_norm", 1}}},
    {"opt", {{"blk.0.attn_norm", 3}, {"blk.0.attn_v", 1}, {"blk.0.ffn_norm", 1}}},
    {"gpt2", kFused},
    {"gptneox", kFused},
    {"bloom", kFused},
    {"falcon-40b", kFused},
    {"gptj", {{"blk.0.attn_norm", 4}, {"blk.0.attn_v", 1}}},
    {"phi2", {{"blk.0.attn_norm", 4}, {"blk.0.attn_v", 1}}},
    {"falcon", {{"blk.0.attn_norm", 2}, {"blk.0.attn_qkv", 1}}}};

INSTANTIATE_TEST_SUITE_P(SmoothQuantPlus, FoldsOfFamilies, testing::ValuesIn(kFamilies), [](const auto& info) {
  std::string name = info.param.family;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lathe::quant
