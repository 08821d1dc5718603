// Mixtures of experts under the methods: every expert is a linear layer of its own, calibrated on the rows that the
// router sent to it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "arch/families.h"
#include "base/file.h"
#include "quant/layer.h"
#include "quant/merge.h"
#include "quant/quantize_model.h"
#include "support/data.h"

namespace lathe::quant {
namespace {

constexpr std::uint32_t kExperts = 6;

// Two layers of a family's small shape, narrower: width 64, six experts of 32.
arch::Architecture small_experts(const std::string& family) {
  arch::Architecture a = arch::small_shape(arch::family_named(family, "test"));
  a.n_layers = 2, a.width = 64, a.vocab_size = 96, a.context_length = 256;
  if (a.mla.kv_rank == 0) {
    a.n_heads = 4, a.n_kv_heads = 2, a.head_dim = a.v_head_dim = a.rotary_dim = 16;
  }
  a.moe.n_experts = kExperts, a.moe.top_k = 2, a.moe.ffn_width = 32, a.moe.first_dense_layers = 0;
  a.moe.n_groups = a.moe.top_groups = 1;
  if (!a.full_layers.empty()) a.full_layers.resize(a.n_layers);
  if (a.moe.shared_ffn_width > 0) a.moe.shared_ffn_width = 48;
  return a;
}

const std::vector<std::string> kFamilies = {"mixtral", "qwen2moe", "qwen3moe", "deepseek2", "deepseek3", "gpt-oss"};

// What the first layer's experts were given, from the router's logits and the weights by themselves.
class Routed final : public model::ForwardHooks {
 public:
  explicit Routed(const TinyModel& model) : model_(model), gate_up(kExperts), down(kExperts) {}

  void on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override {
    if (op.layer != 0 || op.linears.front().weight != "blk.0.ffn_gate_inp") return;
    x_.resize(x.rows * x.cols);
    backend.download(stream, x_.data(), x.data, x_.size() * sizeof(float));
  }
  void on_router(const arch::Op& op, kernels::DeviceTensor logits, kernels::DeviceTensor, kernels::DeviceTensor,
                 kernels::Backend& backend, kernels::Stream& stream) override {
    if (op.layer != 0 || logits.cols != kExperts) return;
    std::vector<float> values(logits.rows * kExperts);
    backend.download(stream, values.data(), logits.data, values.size() * sizeof(float));
    const std::size_t width = model_.architecture.width;
    for (std::size_t row = 0; row < logits.rows; ++row) {
      std::vector<std::size_t> order(kExperts);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::sort(order.begin(), order.end(),
                [&](std::size_t a, std::size_t b) { return values[row * kExperts + a] > values[row * kExperts + b]; });
      for (std::size_t i = 0; i < model_.architecture.moe.top_k; ++i) {
        const std::vector<double> x(x_.begin() + static_cast<std::ptrdiff_t>(row * width),
                                    x_.begin() + static_cast<std::ptrdiff_t>((row + 1) * width));
        const auto gate = product("ffn_gate", order[i], x), up = product("ffn_up", order[i], x);
        std::vector<double> gated(gate.size());
        for (std::size_t c = 0; c < gate.size(); ++c) gated[c] = gate[c] / (1 + std::exp(-gate[c])) * up[c];
        gate_up[order[i]].push_back(x);
        down[order[i]].push_back(gated);
      }
    }
  }

 private:
  std::vector<double> product(const std::string& linear, std::size_t expert, const std::vector<double>& x) const {
    const std::vector<float>& weight = model_.decoded.at(fmt::format("blk.0.{}.{}.weight", linear, expert));
    std::vector<double> y(weight.size() / x.size());
    for (std::size_t i = 0; i < weight.size(); ++i) y[i / x.size()] += weight[i] * x[i % x.size()];
    return y;
  }

  const TinyModel& model_;
  std::vector<float> x_;

 public:
  std::vector<std::vector<std::vector<double>>> gate_up, down;  // by expert: rows
};

// Sums over rows as statistics should have them.
void expect_statistics(const InputStatistics& got, const std::vector<std::vector<double>>& rows) {
  const std::size_t n = got.columns();
  ASSERT_EQ(got.tokens, rows.size());
  std::vector<double> gram(n * n), sums(n);
  std::vector<float> largest(n);
  for (const auto& x : rows) {
    for (std::size_t i = 0; i < n; ++i) {
      sums[i] += std::abs(x[i]);
      largest[i] = std::max(largest[i], static_cast<float>(std::abs(x[i])));
      for (std::size_t j = 0; j < n; ++j) gram[i * n + j] += x[i] * x[j];
    }
  }
  EXPECT_LT(test::relative_error(got.gram, gram), 1e-5);
  for (std::size_t i = 0; i < n; ++i) {
    EXPECT_NEAR(got.sum_abs[i], sums[i], 1e-4 * sums[i]);
    EXPECT_NEAR(got.largest[i], largest[i], 1e-4 * largest[i]);
  }
}

TEST(ExpertStatistics, AreThoseOfTheRowsThatTheRouterSent) {
  for (const char* family : {"mixtral", "qwen2moe"}) {
    const TinyModel model = test::make_tiny_model(small_experts(family), "F32", 4);
    const auto backend = test::cpu(2);
    test::Executor executor(model, backend);
    StatisticsHooks hooks(0, true);
    Routed routed(model);
    for (model::ForwardHooks* looker :
         {static_cast<model::ForwardHooks*>(&hooks), static_cast<model::ForwardHooks*>(&routed)}) {
      for (std::uint64_t text = 0; text < 3; ++text) {
        const auto ids = test::random_ids(60, 96, text);
        const auto state = executor.sequence();
        const model::Segment segment{ids};
        const model::SequenceInput input{state.get(), {&segment, 1}};
        model::ForwardOptions options;
        options.hooks = looker;
        executor.forward().forward({&input, 1}, options, [](std::size_t, std::uint64_t, std::span<const float>) {});
      }
    }
    const auto inputs = hooks.take();
    EXPECT_EQ(hooks.experts(), kExperts);
    EXPECT_EQ(hooks.scarce_experts(), 0u) << family;
    for (std::size_t expert = 0; expert < kExperts; ++expert) {
      const auto of = [&](const char* linear) { return inputs.at(fmt::format("blk.0.{}.{}", linear, expert)); };
      expect_statistics(*of("ffn_gate"), routed.gate_up[expert]);
      expect_statistics(*of("ffn_down"), routed.down[expert]);
      EXPECT_EQ(of("ffn_up"), of("ffn_gate"));
      EXPECT_EQ(of("ffn_down")->experts, 1u);
    }
  }
}

// An expert that no token reaches: what it is calibrated on is the inputs of all others.
TEST(ExpertStatistics, OfTheUnreachedAreThoseOfAll) {
  arch::Architecture a = small_experts("mixtral");
  a.moe.router_bias = true;
  TinyModel model = test::make_tiny_model(a, "F32", 4);
  model.weights.remove("blk.0.ffn_gate_inp.bias");
  const std::vector<float> bias = {0, -1000, 0, 0, 0, 0};
  model.weights.add(pack("blk.0.ffn_gate_inp.bias", codec_named("F32"), Shape{kExperts}, bias));
  test::Executor executor(model, test::cpu(2));
  StatisticsHooks hooks(0, true);
  const auto ids = test::random_ids(120, 96, 8);
  const auto state = executor.sequence();
  const model::Segment segment{ids};
  const model::SequenceInput input{state.get(), {&segment, 1}};
  model::ForwardOptions options;
  options.hooks = &hooks;
  executor.forward().forward({&input, 1}, options, [](std::size_t, std::uint64_t, std::span<const float>) {});
  const auto inputs = hooks.take();
  EXPECT_EQ(hooks.scarce_experts(), 1u);
  const InputStatistics &all = *inputs.at("blk.0.ffn_up.1"), &layer = *inputs.at("blk.0.ffn_gate_inp");
  EXPECT_EQ(all.experts, kExperts);
  EXPECT_EQ(all.tokens, 2 * ids.size());  // each token reached two experts
  std::vector<double> twice(layer.gram.begin(), layer.gram.end());
  for (double& value : twice) value *= 2;
  EXPECT_LT(test::relative_error(all.gram, twice), 1e-5);
  EXPECT_EQ(all.largest, layer.largest);
  EXPECT_EQ(all.sample, layer.sample);
  EXPECT_NEAR(all.magnitudes.largest_without(0.01), layer.magnitudes.largest_without(0.01), 1e-6);
  EXPECT_EQ(inputs.at("blk.0.ffn_down.1")->tokens, 2 * ids.size());
  EXPECT_EQ(inputs.at("blk.0.ffn_down.0")->experts, 1u);
}

// A codec and parameters that a method can choose values for.
Target some_target(const Method& method) {
  if (method.usual_codec() == "W8A8") return {&codec_named("W8A8"), {}};
  const int group = method.usual_codec().starts_with("SPQR") ? 16 : 8;
  return int_target(method.usual_codec(), method.usual_codec() == "FDB" ? 2 : 3,
                    method.usual_codec() == "BITMOD" || method.usual_codec() == "DGQ" ? 32 : group);
}

// Every method but those that scale what lies before the weights makes of each expert's weights what it makes of the
// same weights, on the same inputs, in a layer without experts.
TEST(Experts, AreLayersOfTheirOwn) {
  for (const Method* method : all_methods()) {
    Target target = some_target(*method);
    if (method->usual_codec() == "DGQ") target.params.bits = 4;
    if (method->name() == "awq" || method->name() == "smoothquant+") continue;
    Layer moe(small_experts("mixtral"), target, 6);
    moe.work.options.smooth_percentile = 100;  // dgq: no scales
    method->quantize(moe.work);
    EXPECT_FALSE(moe.work.packed.contains("blk.0.ffn_gate_inp.weight")) << method->name();
    arch::Architecture plain = test::tiny_llama();
    plain.ffn_width = 32;
    for (std::uint32_t expert = 0; expert < kExperts; ++expert) {
      Layer dense(plain, target, 7);
      dense.work.options.smooth_percentile = 100;
      for (const char* linear : {"blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
        const std::string own = fmt::format("{}.{}", linear, expert);
        dense.work.values(std::string(linear) + ".weight") = moe.model.decoded.at(own + ".weight");
        dense.work.inputs[linear] = moe.work.inputs.at(own);
      }
      method->quantize(dense.work);
      for (const char* linear : {"blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
        const PackedTensor &got = moe.work.packed.at(fmt::format("{}.{}.weight", linear, expert)),
                           &expected = dense.work.packed.at(std::string(linear) + ".weight");
        EXPECT_EQ(got.codec, target.codec);
        EXPECT_EQ(got.to_floats(), expected.to_floats()) << method->name() << ", " << got.name;
      }
    }
  }
}

TEST(Experts, CompensationLeavesLessErrorThanRounding) {
  Layer rounded(small_experts("qwen2moe"), int_target("INT_ASYM", 3, 16), 3),
      corrected(small_experts("qwen2moe"), int_target("INT_ASYM", 3, 16), 3);
  rtn_method().quantize(rounded.work);
  gptq_method().quantize(corrected.work);
  std::size_t compared = 0;
  for (const Linears& linears : corrected.work.linears_by_input()) {
    for (const std::string& linear : linears) {
      EXPECT_LT(corrected.output_error(linear), 0.8 * rounded.output_error(linear)) << linear;
      compared += linear.find("ffn_") != std::string::npos;
    }
  }
  EXPECT_EQ(compared, 3 * kExperts + 3);
}

// Scales folded into every site, the router's columns among those that take them back: outputs stay what they were.
TEST(Experts, ScalesChangeNothing) {
  for (const std::string& family : kFamilies) {
    Layer layer(small_experts(family), int_target("INT_SYM", 8, 0), 2);
    test::Executor before(layer.model, layer.backend);
    const auto ids = test::random_ids(30, 96, 3);
    const std::vector<float> expected = before.logits(ids);
    std::size_t of_experts = 0, of_norms = 0;
    std::mt19937 random(9);
    for (const ScaleSite& site : scale_sites(layer.work)) {
      of_experts += site.linear.starts_with("blk.0.ffn_up.");
      of_norms += !site.routers.empty();
      if (!site.routers.empty()) {
        EXPECT_EQ(site.norm, "blk.0.ffn_norm");
        EXPECT_EQ(std::count_if(site.consumers.begin(), site.consumers.end(),
                                [](const std::string& name) { return name.find("shexp") == std::string::npos; }),
                  2 * kExperts);
      }
      std::vector<float> scale(site.row_of.size());
      for (float& s : scale) s = std::exp(static_cast<float>(random() % 1000) / 500 - 1);
      tie_scale(site, scale);
      fold_scale(layer.work, site, scale);
    }
    EXPECT_EQ(of_norms, 1u) << family;
    EXPECT_EQ(of_experts, layer.model.architecture.activation_limit > 0 ? 0 : kExperts) << family;
    TinyModel changed = layer.model;
    for (const auto& [name, values] : layer.work.floats) {
      changed.weights.remove(name);
      changed.weights.add(pack(name, codec_named("F32"), layer.work.shape(name), values));
    }
    const std::vector<float> after = test::Executor(changed, layer.backend).logits(ids);
    EXPECT_LT(test::relative_error(after, std::vector<double>(expected.begin(), expected.end())), 5e-5) << family;
  }
}

// Statistics that several experts share stay what they were for those that a scale is not for.
TEST(Experts, ScalesOfOneLeaveTheOthersStatisticsAlone) {
  Layer layer(small_experts("mixtral"), int_target("INT_SYM", 4, 32));
  layer.work.inputs["blk.0.ffn_down.1"] = layer.work.inputs.at("blk.0.ffn_down.2");
  const std::vector<float> largest = layer.work.inputs.at("blk.0.ffn_down.2")->largest;
  for (const ScaleSite& site : scale_sites(layer.work)) {
    if (site.input == "blk.0.ffn_down.1") fold_scale(layer.work, site, std::vector<float>(32, 2.0f));
  }
  EXPECT_EQ(layer.work.inputs.at("blk.0.ffn_down.2")->largest, largest);
  EXPECT_EQ(layer.work.inputs.at("blk.0.ffn_down.1")->largest.front(), largest.front() / 2);
}

class QuantizeExperts : public testing::Test {
 protected:
  static formats::ModelFile model_of(const std::string& family) {
    const formats::ModelFile tiny = formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf");
    arch::Architecture a = small_experts(family);
    a.vocab_size = tiny.architecture.vocab_size;
    formats::ModelFile model;
    model.path = family;
    model.architecture = a;
    model.weights = test::make_tiny_model(a, "F16", 3).weights;
    model.tokenizer = tiny.tokenizer, model.tokenizer_spec = tiny.tokenizer_spec;
    return model;
  }
  static QuantizeOptions options(const Method& method, Target target) {
    QuantizeOptions o;
    o.method = &method;
    o.target = target;
    o.calibration_source = "a text";
    for (int i = 0; i < 200; ++i) o.calibration_text += "Once upon a time there was a little girl who loved her dog. ";
    o.calibration = {4, 64};
    o.threads = 2;
    o.progress = false;
    o.method_options.alpha = 0.5f;
    return o;
  }
  test::TempDir folder_;
};

TEST_F(QuantizeExperts, EveryFamilyUnderEveryMethod) {
  for (const std::string& family : kFamilies) {
    const formats::ModelFile model = model_of(family);
    for (const Method* method : all_methods()) {
      Target target = some_target(*method);
      if (target.params.bits == 3) target.params.bits = 4;
      const std::filesystem::path out = folder_ / "out.lathe";
      const QuantizeReport report = quantize_model(model, out, options(*method, target));
      const formats::ModelFile got = formats::load_model(out);
      for (const auto& [name, tensor] : got.weights.all()) {
        if (name.find("ffn_gate_inp") != std::string::npos && tensor.shape.rank() == 2) {  // F32 where it was scaled
          EXPECT_TRUE(tensor.codec->name() == "F16" || tensor.codec->name() == "F32") << name;
        } else if (name.find(".ffn_") != std::string::npos && tensor.shape.rank() == 2) {
          EXPECT_EQ(tensor.codec, target.codec) << family << ", " << method->name() << ", " << name;
        }
      }
      EXPECT_EQ(report.experts, method->needs() == Needs::kNothing ? 0 : 2 * kExperts);
      const auto ids = test::random_ids(40, model.architecture.vocab_size, 5);
      const auto logits = [&](const formats::ModelFile& m) {
        return test::Executor(m.architecture, m.weights, test::cpu(2)).logits(ids);
      };
      const std::vector<float> a = logits(model), b = logits(got);
      double error = 0, sum = 0, squares = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        error += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
        sum += a[i], squares += double{a[i]} * a[i];
      }
      const double off = error / (squares - sum * sum / static_cast<double>(a.size()));
      EXPECT_TRUE(off > 0 && off < (target.params.bits == 2 ? 1.5 : 0.3))
          << family << ", " << method->name() << ": " << off;
    }
  }
}

TEST_F(QuantizeExperts, ThreadsDoNotChangeTheBytesAndGgufHoldsThem) {
  const formats::ModelFile model = model_of("qwen2moe");
  QuantizeOptions o = options(gptq_method(), {&codec_named("Q4_0"), {}});
  quantize_model(model, folder_ / "two.gguf", o);
  o.threads = 3;
  quantize_model(model, folder_ / "three.gguf", o);
  EXPECT_EQ(read_file(folder_ / "two.gguf"), read_file(folder_ / "three.gguf"));
  const formats::ModelFile got = formats::load_model(folder_ / "two.gguf");
  EXPECT_EQ(got.weights.at("blk.1.ffn_down.5.weight").codec->name(), "Q4_0");
}

}  // namespace
}  // namespace lathe::quant
