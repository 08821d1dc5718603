// Shadow outliers: which inputs keep theirs and under which scales, against plain loops, and outliers planted into the
// small model that ships, where they have to give back what plain static 8-bit activations lose.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/layer.h"
#include "quant/planted.h"
#include "quant/quantize_model.h"
#include "tensor/codecs/w8a8.h"

namespace lathe::quant {
namespace {

const Target kTarget{&codec_named("W8A8"), {}};

// Values of an input, and the statistics calibration would have of them.
struct Values {
  std::vector<float> x;
  std::size_t columns;

  InputStatistics statistics() const {
    InputStatistics s;
    s.largest.resize(columns);
    for (std::size_t i = 0; i < x.size(); ++i) {
      s.largest[i % columns] = std::max(s.largest[i % columns], std::abs(x[i]));
      s.magnitudes.add(std::abs(x[i]));
    }
    return s;
  }
  float largest() const { return sorted().front(); }
  float range(double share) const { return sorted()[static_cast<std::size_t>(share * static_cast<double>(x.size()))]; }
  std::vector<float> sorted() const {
    std::vector<float> sorted;
    for (const float value : x) sorted.push_back(std::abs(value));
    std::sort(sorted.rbegin(), sorted.rend());
    return sorted;
  }
};

// Normal values, a few of them `size` times as large.
Values make_values(std::size_t columns, float size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Values values{std::vector<float>(columns * 500), columns};
  for (float& value : values.x) value = normal(random);
  for (std::size_t i = 7; i < values.x.size(); i += 2003) values.x[i] = size;
  return values;
}

// The four inputs of a layer, the largest value of each `sizes[i]`.
struct Inputs {
  explicit Inputs(Layer& layer, const std::vector<float>& sizes) {
    std::size_t next = 0;
    for (const Linears& linears : layer.work.linears_by_input()) {
      const std::string& first = linears.front();
      const std::size_t columns = layer.work.inputs.at(first)->columns();
      values[first] = make_values(columns, sizes.at(next), static_cast<unsigned>(next));
      const auto statistics = std::make_shared<InputStatistics>(values[first].statistics());
      for (const std::string& linear : linears) layer.work.inputs[linear] = statistics;
      ++next;
    }
  }
  std::map<std::string, Values> values;
};

std::set<std::string, std::less<>> chosen(Layer& layer) {
  MethodOptions options = layer.work.options;
  const WholeModel model{{}, [&](const std::function<void(const LayerWork&)>& look) { look(layer.work); }};
  shadow_method().prepare(options, model);
  return options.shadows;
}

TEST(Shadow, TheInputsWithTheLargestOutliersKeepThem) {
  Layer layer(test::tiny_llama(), kTarget);
  const Inputs inputs(layer, {60, 200, 20, 100});  // qkv, attention's output, gate and up, down
  const std::string qkv = "blk.0.attn_q", out = "blk.0.attn_output", down = "blk.0.ffn_down";
  ASSERT_EQ(inputs.values.size(), 4u);
  const float up_beyond = inputs.values.at("blk.0.ffn_gate").largest() / inputs.values.at("blk.0.ffn_gate").range(1e-3);
  EXPECT_GT(up_beyond, 5);  // of four inputs all but the fourth by pruning; the fourth by the threshold
  struct Case {
    float prune, threshold;
    std::set<std::string, std::less<>> kept;
  };
  for (const Case& c : {Case{0, 1, {qkv, out, "blk.0.ffn_gate", down}},
                        {0, 1.1f * up_beyond, {qkv, out, down}},
                        {0.25f, 1, {qkv, out, down}},
                        {0.5f, 1, {out, down}},
                        {0.75f, 1, {out}},
                        {0.85f, 5, {out}},
                        {1, 1, {}},
                        {0, 1000, {}}}) {
    layer.work.options.shadow_prune = c.prune, layer.work.options.shadow_threshold = c.threshold;
    EXPECT_EQ(chosen(layer), c.kept) << c.prune << ", " << c.threshold;
  }
}

TEST(Shadow, ScalesCoverTheRangeOrEverything) {
  for (const float share : {0.001f, 0.02f}) {
    Layer layer(test::tiny_llama(), kTarget);
    const Inputs inputs(layer, {60, 200, 20, 100});
    layer.work.options.shadow_share = share;
    layer.work.options.shadows = {"blk.0.attn_q", "blk.0.ffn_down"};
    shadow_method().quantize(layer.work);
    EXPECT_EQ(layer.work.packed.size(), 7u);
    for (const Linears& linears : layer.work.linears_by_input()) {
      const std::string& first = linears.front();
      const Values& values = inputs.values.at(first);
      const bool shadow = layer.work.options.shadows.contains(first);
      for (const std::string& linear : linears) {
        const PackedTensor& tensor = layer.work.packed.at(linear + ".weight");
        const W8a8Scales scales = w8a8_scales(tensor);
        EXPECT_EQ(scales.input.shadow, shadow) << linear;
        const float range = shadow ? values.range(share) : values.largest();
        EXPECT_NEAR(scales.input.scale, range / 127, shadow ? range / 127 / 64 : 0) << linear;
        const std::vector<float>& weight = layer.model.decoded.at(tensor.name);
        float largest = 0;
        for (const float value : weight) largest = std::max(largest, std::abs(value));
        EXPECT_EQ(scales.weight, largest / 127);
        const std::vector<float> got = tensor.to_floats();
        for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], weight[i], 0.5001f * scales.weight);
      }
    }
  }
}

// An input that is 0, or 0 but for its outliers, has no range to speak of.
TEST(Shadow, BearsInputsOfNothing) {
  Layer layer(test::tiny_llama(), kTarget);
  const auto silent = std::make_shared<InputStatistics>(Values{std::vector<float>(64 * 100), 64}.statistics());
  Values rare{std::vector<float>(64 * 1000), 64};
  rare.x[70] = 3;
  for (const char* name : {"blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v"}) layer.work.inputs[name] = silent;
  layer.work.inputs["blk.0.attn_output"] = std::make_shared<InputStatistics>(rare.statistics());
  layer.work.options.shadow_prune = 0, layer.work.options.shadow_threshold = 1;
  layer.work.options.shadows = chosen(layer);
  EXPECT_FALSE(layer.work.options.shadows.contains("blk.0.attn_q"));
  EXPECT_FALSE(layer.work.options.shadows.contains("blk.0.attn_output"));
  shadow_method().quantize(layer.work);
  EXPECT_EQ(w8a8_scales(layer.work.packed.at("blk.0.attn_k.weight")).input, W8a8Input{});
  EXPECT_EQ(w8a8_scales(layer.work.packed.at("blk.0.attn_output.weight")).input, (W8a8Input{3.0f / 127, false}));
}

TEST(Shadow, IsForItsOwnCodec) {
  EXPECT_TRUE(shadow_method().can_target(kTarget));
  EXPECT_FALSE(shadow_method().can_target(int_target("INT_SYM", 8, 128)));
}

// --- the small model that ships, with outliers ---

TEST(Shadow, GivesBackWhatPlantedOutliersTakeAway) {
  const formats::ModelFile plain = planted_model(1, {}), planted = planted_model(64, {37});
  const std::vector<std::int32_t> ids = test::random_ids(60, plain.architecture.vocab_size, 5);
  EXPECT_LT(distance(plain, planted, ids), 1e-9);
  const test::TempDir folder;
  // The planted channel is one of 64, and so more than the usual thousandth of all values.
  const auto loss = [&](float prune, float threshold) {
    QuantizeOptions options;
    options.method = &shadow_method();
    options.target = kTarget;
    options.calibration_source = "a text";
    for (int i = 0; i < 400; ++i) {
      options.calibration_text += "Once upon a time there was a little girl who loved her big dog. ";
    }
    options.calibration = {6, 64};
    options.threads = 2;
    options.progress = false;
    options.method_options.shadow_share = 0.02f;
    options.method_options.shadow_prune = prune, options.method_options.shadow_threshold = threshold;
    quantize_model(planted, folder / "out.lathe", options);
    return distance(planted, formats::load_model(folder / "out.lathe"), ids);
  };
  const double kept = loss(0, 1), half = loss(0.5f, 1), pruned = loss(1, 1);
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, 0.01);
  EXPECT_LT(10 * kept, pruned);
  EXPECT_LT(half, pruned);
  EXPECT_LT(10 * loss(0, 5), pruned);
}

}  // namespace
}  // namespace lathe::quant
