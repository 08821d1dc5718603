// Every family, and every RoPE scaling GGUF can say, on synthetic models against logits that llama.cpp computed from
// the same files (tests/golden/peer/README.md says how they were recorded). The synthesizer is deterministic, so that
// the files themselves need not be kept.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/session.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

using arch::Architecture;
using Kind = arch::RopeScaling::Kind;

// Recorded at 4 x the trained context of the stretched models.
struct Case {
  std::string name;
  Architecture architecture;
  float tolerance = 5e-5f;  // logits span about 7; the two engines add in different orders
};

// llama.cpp looks GELU up in a table of half-precision numbers (and takes its tanh form for GPT-NeoX and Falcon, which
// is nearer to theirs than that table).
constexpr float kHalfGelu = 2e-3f;

Architecture stretched(Kind kind, float factor) {
  Architecture a = formats::synth_preset("llama-tiny");
  a.rope_scaling.kind = kind;
  a.rope_scaling.factor = factor;
  a.rope_scaling.original_context = 128;
  return a;
}

std::vector<Case> cases() {
  Architecture llama3 = stretched(Kind::kLlama3, 8);
  llama3.rope_theta = 500000;
  Architecture factors = formats::synth_preset("llama-tiny");
  factors.rope_scaling.kind = Kind::kFactors;
  for (std::uint32_t i = 0; i < factors.rotary_dim / 2; ++i) {
    factors.rope_scaling.short_factors.push_back(1 + 0.25f * static_cast<float>(i));
  }
  Architecture linear = stretched(Kind::kLinear, 4);
  linear.rope_scaling.original_context = 0;
  const auto small = [](const char* name) { return formats::synth_preset(fmt::format("{}-tiny", name)); };
  return {{"llama", small("llama")},
          {"gpt2", small("gpt2"), kHalfGelu},
          {"qwen2", small("qwen2")},
          {"qwen3", small("qwen3")},
          {"mixtral", small("mixtral")},
          {"qwen2moe", small("qwen2moe")},
          {"qwen3moe", small("qwen3moe")},
          {"phi2", small("phi2"), kHalfGelu},
          {"phi3", small("phi3")},
          {"gemma", small("gemma"), kHalfGelu},
          {"gemma2", small("gemma2"), kHalfGelu},
          {"gemma3", small("gemma3"), kHalfGelu},
          {"gptneox", small("gptneox"), kHalfGelu},
          {"bloom", small("bloom"), kHalfGelu},
          {"falcon", small("falcon"), kHalfGelu},
          {"falcon-40b", small("falcon-40b"), kHalfGelu},
          {"stablelm", small("stablelm")},
          {"deepseek2", small("deepseek2")},
          {"deepseek3", small("deepseek3")},
          {"gpt-oss", small("gpt-oss")},
          {"llama-linear", linear},
          {"llama-yarn", stretched(Kind::kYarn, 4)},
          {"llama-llama3", llama3},
          {"llama-factors", factors}};
}

class ParityFamilies : public ::testing::TestWithParam<Case> {};

TEST_P(ParityFamilies, LogitsEqualLlamaCpp) {
  const std::string path = test::golden("golden/peer/families.json").string();
  const Json recorded = parse_json(read_file(path), path);
  const Json& expected = recorded.at("models").at(GetParam().name);
  const test::TempDir folder;
  formats::synthesize(GetParam().architecture, folder / "model.gguf", {.codec = "F32"});
  const formats::ModelFile file = formats::load_model(folder / "model.gguf");
  Runtime runtime({.cpu = {.threads = 1}});
  const auto session = runtime.open(runtime.load(file), nullptr, {.kv_codec = kernels::KvCodec::kF32});
  const auto ids = recorded.at("ids").get<std::vector<text::TokenId>>();
  const auto stride = recorded.at("stride").get<std::size_t>();
  const auto want = expected.get<std::vector<float>>();
  session->logits(ids, ids.size() - 1, [&](std::size_t, std::span<const float> row) {
    ASSERT_EQ(want.size(), (row.size() + stride - 1) / stride);
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(row[i * stride], want[i], GetParam().tolerance) << "logit " << i * stride;
  });
}

INSTANTIATE_TEST_SUITE_P(All, ParityFamilies, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lathe::engine
