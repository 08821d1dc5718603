// Every codec under every architecture family, at a width that every block divides and at one that leaves tails: the
// executor on packed weights against the executor on the same weights decoded to floats. Only what kernels make of
// activations may differ.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/families.h"
#include "reference/packings.h"

namespace lathe::quant {
namespace {

using test::Packing;
using test::TinyModel;

constexpr std::uint32_t kVocabulary = 64;

arch::Architecture sized(const arch::Family& family, std::uint32_t width) {
  arch::Architecture a = family.defaults;
  const bool encodes = a.encoder.n_layers > 0, two_vocabularies = arch::small_shape(family).encoder.vocab_size > 0;
  a.n_layers = 1;
  a.width = a.ffn_width = width;
  a.n_heads = width / 32;
  a.n_kv_heads = a.fused_qkv || !a.output_head || encodes ? a.n_heads : a.n_heads / 2;
  a.head_dim = a.v_head_dim = 32;
  a.rotary_dim = a.position == arch::PositionKind::kRope ? 32 : 0;
  a.vocab_size = kVocabulary;
  if (two_vocabularies) a.encoder.vocab_size = kVocabulary + 16;
  a.context_length = 256;
  return a;
}

// Logits of nine tokens, of a given source where the model translates, or hidden states where it has no head.
std::vector<float> outputs(const TinyModel& model, const std::shared_ptr<kernels::Backend>& backend,
                           kernels::KvCodec kv = kernels::KvCodec::kF32) {
  const std::vector<std::int32_t> ids = test::random_ids(9, kVocabulary, 2);
  test::Executor executor(model, backend, {.kv = kv});
  const auto state = executor.sequence();
  if (model.architecture.encoder.n_layers > 0) {
    const auto sources = executor.encode({test::random_ids(11, kVocabulary, 3)});
    return executor.logits(*state, ids, 64, {}, sources.front().get());
  }
  if (model.architecture.output_head) return executor.logits(*state, ids);
  const model::Segment segment{ids};
  const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
  std::vector<float> rows;
  executor.forward().forward(
      {&input, 1}, {.hidden_only = true},
      [&](std::size_t, std::uint64_t, std::span<const float> row) { rows.insert(rows.end(), row.begin(), row.end()); });
  return rows;
}

// Root of the squared differences over the squared distances of the expected values from their mean.
double error_of(const std::vector<float>& got, const std::vector<float>& expected) {
  double mean = 0, error = 0, energy = 0;
  for (const float value : expected) mean += value / static_cast<double>(expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(double{got.at(i)} - expected[i], 2);
    energy += std::pow(expected[i] - mean, 2);
  }
  return std::sqrt(error / energy);
}

// How far kernels may take a codec's products from those of its decoded weights: at most twice the most that was found
// over all families, both widths of models, and all widths of weights. Where kernels read floats only the order of sums
// differs; where they read integers, inputs are rounded to 8 bits: in blocks of 32, or by rows (DGQ, W8A8).
struct Tolerance {
  std::string_view codec;
  double error;
};
constexpr Tolerance kTolerances[] = {
    {"F64", 1e-5},       {"F32", 1e-5},      {"F16", 1e-5},           {"BF16", 1e-5},      {"Q1_0", 1e-5},
    {"Q2_0", 1e-5},      {"I8_GROUP", 1e-5}, {"TQ1_0", 1e-5},         {"Q4_0", 0.023},     {"Q4_1", 0.022},
    {"Q5_0", 0.021},     {"Q5_1", 0.022},    {"Q8_0", 0.022},         {"Q2_K", 0.020},     {"Q3_K", 0.020},
    {"Q4_K", 0.021},     {"Q5_K", 0.021},    {"Q6_K", 0.021},         {"IQ4_NL", 0.023},   {"IQ4_XS", 0.021},
    {"TQ2_0", 0.021},    {"MXFP4", 0.023},   {"INT_SYM", 0.023},      {"INT_ASYM", 0.022}, {"BIPOLAR", 0.023},
    {"BALANCED", 0.020}, {"SPQR", 0.025},    {"SPQR_ORDERED", 0.023}, {"BITMOD", 0.023},   {"FDB", 0.022},
    {"SLIM", 0.022},     {"DGQ", 0.029},     {"W8A8", 0.030},
};
// The same by table look-up, of every codec that has it.
constexpr double kLookUp = 0.032;

// T5 does not scale attention scores down, so that roundings weigh more there.
constexpr double kT5 = 3;

double tolerance_of(const Codec& codec) {
  const auto found = std::find_if(std::begin(kTolerances), std::end(kTolerances),
                                  [&](const Tolerance& t) { return t.codec == codec.name(); });
  return found == std::end(kTolerances) ? 0 : found->error;  // a codec without a row fails
}

class EveryCodec : public testing::TestWithParam<std::string_view> {};
std::vector<std::string_view> family_names() {
  std::vector<std::string_view> names;
  for (const arch::Family& family : arch::families()) names.push_back(family.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Families, EveryCodec, testing::ValuesIn(family_names()), [](const auto& info) {
  std::string name(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

// Codecs of blocks of 256 hold no row of 192; every other codec has to hold at least the four matrices of attention and
// two of the feed-forward part, so that nothing is compared with itself.
TEST_P(EveryCodec, ComputesWithItsOwnDecodedWeights) {
  const std::shared_ptr<kernels::Backend> backend = test::cpu(2), tables = test::cpu(2, "auto+lut");
  const double factor = GetParam() == "t5" || GetParam() == "flan-t5" ? kT5 : 1;
  for (const std::uint32_t width : {256u, 192u}) {
    const TinyModel plain = test::make_tiny_model(sized(*arch::find_family(GetParam()), width));
    for (const Packing& packing : test::packings()) {
      const bool fits = test::holds(packing, Shape{1, width});
      EXPECT_TRUE(fits || width % packing.codec->column_alignment(packing.params) != 0) << packing.name();
      if (!fits) continue;
      std::size_t matrices = 0;
      const TinyModel model = test::packed(plain, packing, &matrices);
      EXPECT_GE(matrices, plain.architecture.fused_qkv ? 4u : 6u) << packing.name();
      const std::vector<float> expected = outputs(test::unpacked(model), backend);
      EXPECT_LT(error_of(outputs(model, backend), expected), factor * tolerance_of(*packing.codec))
          << packing.name() << ", width " << width;
      if (!packing.codec->takes_activation_bits()) continue;
      EXPECT_LT(error_of(outputs(model, tables), expected), factor * kLookUp)
          << packing.name() << " by look-up, width " << width;
    }
  }
}

// Inputs rounded to few bits mean the same on every instruction set, but for roundings that fall the other way because
// sums were taken in another order; and what they mean is near what floats say.
TEST(EveryCodecWithActivationBits, ComputesTheSameWithEveryKernel) {
  const std::shared_ptr<kernels::Backend> backend = test::cpu(2), scalar = test::cpu(2, "scalar");
  for (const std::uint32_t width : {256u, 192u}) {
    const TinyModel plain = test::make_tiny_model(sized(*arch::find_family("llama"), width));
    for (const int bits : {4, 8}) {
      for (const Packing& packing : test::with_activation_bits(test::packings(), bits)) {
        const TinyModel model = test::packed(plain, packing);
        const std::vector<float> got = outputs(model, backend);
        EXPECT_LT(error_of(got, outputs(model, scalar)), 0.01) << packing.name() << ", width " << width;
        const double off = error_of(got, outputs(test::unpacked(model), backend));
        EXPECT_LT(off, bits == 8 ? 0.03 : 0.5) << packing.name() << ", width " << width;
        if (bits == 4) EXPECT_GT(off, 0.02) << packing.name() << " took no notice of the width";
      }
    }
  }
}

// Keys and values in 8 bits beside weights of every codec.
TEST(EveryCodecWithCachedIntegers, StaysNearCachedFloats) {
  const std::shared_ptr<kernels::Backend> backend = test::cpu(2);
  const TinyModel plain = test::make_tiny_model(sized(*arch::find_family("llama"), 256));
  for (const Packing& packing : test::packings()) {
    const TinyModel model = test::packed(plain, packing);
    const double off = error_of(outputs(model, backend, kernels::KvCodec::kI8), outputs(model, backend));
    EXPECT_LT(off, 0.03) << packing.name();
    EXPECT_GT(off, 0) << packing.name();
  }
}

}  // namespace
}  // namespace lathe::quant
