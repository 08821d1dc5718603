// Rotary frequencies against recorded values for the parameters of real models, against the second formulation of
// tests/reference, and against closed-form facts.
#include "arch/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numbers>

#include "arch/alibi.h"
#include "base/file.h"
#include "base/json.h"
#include "support/data.h"

namespace lathe::arch {
namespace {

using Kind = RopeScaling::Kind;

Architecture with_rope(std::uint32_t dims, float theta, std::uint32_t context_length, RopeScaling scaling) {
  Architecture a;
  a.n_layers = a.n_heads = a.n_kv_heads = 1;
  a.width = a.ffn_width = a.vocab_size = 1;
  a.head_dim = a.v_head_dim = a.rotary_dim = dims;
  a.rope_theta = theta;
  a.context_length = context_length;
  a.rope_scaling = std::move(scaling);
  validate(a, "test");
  return a;
}

TEST(Rope, RecordedFrequencies) {
  const std::map<std::string, Kind> kinds = {{"none", Kind::kNone},          {"linear", Kind::kLinear},
                                             {"dynamic", Kind::kDynamicNtk}, {"yarn", Kind::kYarn},
                                             {"llama3", Kind::kLlama3},      {"longrope", Kind::kLongRope}};
  const auto path = test::golden("golden/rope/frequencies.json");
  const Json recorded = parse_json(read_file(path), path.string());
  ASSERT_EQ(recorded["cases"].size(), 14u);
  for (const Json& c : recorded["cases"]) {
    const std::string name = c["name"];
    const Json& s = c["scaling"];
    RopeScaling scaling;
    scaling.kind = kinds.at(c["kind"]);
    scaling.factor = s.value("factor", scaling.factor);
    scaling.original_context = s.value("original_context", scaling.original_context);
    scaling.attention_factor = s.value("attention_factor", scaling.attention_factor);
    scaling.beta_fast = s.value("beta_fast", scaling.beta_fast);
    scaling.beta_slow = s.value("beta_slow", scaling.beta_slow);
    scaling.low_freq_factor = s.value("low_freq_factor", scaling.low_freq_factor);
    scaling.high_freq_factor = s.value("high_freq_factor", scaling.high_freq_factor);
    scaling.short_factors = s.value("short_factors", scaling.short_factors);
    scaling.long_factors = s.value("long_factors", scaling.long_factors);
    const Architecture a = with_rope(c["rotary_dim"], c["rope_theta"], c["context_length"], scaling);
    const RopeFrequencies result = rope_frequencies(a, c["context"]);
    const auto expected = c["inv_freq"].get<std::vector<double>>();
    ASSERT_EQ(result.inv_freq.size(), expected.size()) << name;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(result.inv_freq[i], expected[i], 2e-7 * expected[i]) << name << ", frequency " << i;
    }
    EXPECT_NEAR(result.mscale, c["mscale"].get<double>(), 1e-6) << name;
  }
}

TEST(Rope, ClosedForms) {
  // theta^0 is one turn per 2 pi positions; each frequency is the last one times theta^(-2/d).
  const RopeFrequencies plain = rope_frequencies(with_rope(8, 10000, 2048, {}), 2048);
  EXPECT_EQ(plain.inv_freq, (std::vector<float>{1, 0.1f, 0.01f, 0.001f}));
  EXPECT_EQ(plain.mscale, 1);

  // Dynamic NTK leaves the fastest frequency alone and divides the slowest by exactly the stretch.
  RopeScaling dynamic{.kind = Kind::kDynamicNtk, .factor = 1, .original_context = 1000};
  const RopeFrequencies stretched = rope_frequencies(with_rope(8, 10000, 1000, dynamic), 3000);
  EXPECT_EQ(stretched.inv_freq[0], 1);
  EXPECT_NEAR(stretched.inv_freq[3], 0.001 / 3, 1e-10);

  // YaRN and Llama 3 keep what turns often and interpolate what hardly turns.
  for (const Kind kind : {Kind::kYarn, Kind::kLlama3}) {
    RopeScaling scaling{.kind = kind, .factor = 8, .original_context = 8192};
    const RopeFrequencies result = rope_frequencies(with_rope(128, 500000, 131072, scaling), 131072);
    const RopeFrequencies base = rope_frequencies(with_rope(128, 500000, 131072, {}), 131072);
    EXPECT_EQ(result.inv_freq.front(), base.inv_freq.front());
    EXPECT_FLOAT_EQ(result.inv_freq.back(), base.inv_freq.back() / 8);
    for (std::size_t i = 1; i < 64; ++i) {
      EXPECT_LT(result.inv_freq[i], result.inv_freq[i - 1]);
      EXPECT_LE(result.inv_freq[i], base.inv_freq[i]);
      EXPECT_GE(result.inv_freq[i], base.inv_freq[i] / 8 * 0.999999f);
    }
  }

  // A factor of 1 changes nothing, whatever the rule.
  for (const Kind kind : {Kind::kLinear, Kind::kYarn, Kind::kLlama3, Kind::kDynamicNtk}) {
    RopeScaling scaling{.kind = kind, .factor = 1, .original_context = 2048};
    const RopeFrequencies result = rope_frequencies(with_rope(64, 10000, 2048, scaling), 2048);
    const RopeFrequencies base = rope_frequencies(with_rope(64, 10000, 2048, {}), 2048);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_FLOAT_EQ(result.inv_freq[i], base.inv_freq[i]);
    EXPECT_EQ(result.mscale, 1);
  }

  // LongRope's magnitude from 4096 to 131072: sqrt(1 + 5/12), since both are powers of two. Without an original context
  // the factor says how far it was stretched.
  RopeScaling longrope{.kind = Kind::kLongRope, .original_context = 4096};
  longrope.short_factors = {1, 1}, longrope.long_factors = {2, 4};
  EXPECT_FLOAT_EQ(rope_frequencies(with_rope(4, 10000, 131072, longrope), 4096).mscale, std::sqrt(17.f / 12));
  EXPECT_EQ(rope_frequencies(with_rope(4, 10000, 131072, longrope), 4096).inv_freq[1], 0.01f);
  EXPECT_EQ(rope_frequencies(with_rope(4, 10000, 131072, longrope), 4097).inv_freq[1], 0.0025f);
  longrope.original_context = 0, longrope.factor = 32;
  EXPECT_FLOAT_EQ(rope_frequencies(with_rope(4, 10000, 4096, longrope), 4096).mscale, std::sqrt(17.f / 12));
}

TEST(Rope, FactorsOnlyCountForTheKindsThatHaveThem) {
  RopeScaling scaling{.kind = Kind::kNone};
  scaling.short_factors = {2, 2};
  EXPECT_EQ(rope_frequencies(with_rope(4, 10000, 64, scaling), 64).inv_freq, (std::vector<float>{1, 0.01f}));
  scaling.kind = Kind::kFactors;
  EXPECT_EQ(rope_frequencies(with_rope(4, 10000, 64, scaling), 64).inv_freq, (std::vector<float>{0.5f, 0.005f}));
}

TEST(Alibi, Slopes) {
  // The paper's own example of 8 heads, and 12 as its authors extend the rule.
  EXPECT_EQ(alibi_slopes(8), (std::vector<float>{0.5f, 0.25f, 0.125f, 0.0625f, 0x1p-5f, 0x1p-6f, 0x1p-7f, 0x1p-8f}));
  const std::vector<float> twelve = alibi_slopes(12);
  ASSERT_EQ(twelve.size(), 12u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(twelve[8 + i], std::exp2(-0.5f - static_cast<float>(i)));
  EXPECT_EQ(alibi_slopes(1), std::vector<float>{0x1p-8f});
}

}  // namespace
}  // namespace lathe::arch
