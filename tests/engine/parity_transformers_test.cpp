// Families on synthetic models against logits that Hugging Face's transformers computed from the same folders
// (tests/golden/peer/README.md says how they were recorded): those that llama.cpp does not have or computes
// otherwise, and windows, groups and rotations that the models made for it do not show.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "engine/session.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

struct TransformersCase {
  std::string name;
  float tolerance = 5e-5f;  // logits span about 7; the two add in different orders (found: 1.4e-5 at most)
};

std::vector<TransformersCase> transformers_cases() {
  return {
      {"gpt2"},
      {"qwen2-windows"},
      {"qwen3"},
      {"mistral"},
      {"mixtral"},
      {"qwen2moe"},
      {"qwen3moe"},
      {"phi2"},
      {"phi3-window"},
      {"phi3-longrope"},
      {"gemma"},
      {"gemma2"},
      {"gemma3"},
      {"gptj"},
      {"gptneox"},
      {"opt"},
      {"bloom"},
      {"falcon"},
      {"falcon-40b"},
      {"stablelm"},
      {"deepseek2-groups"},
      {"deepseek3"},
      {"deepseek3-yarn"},
      {"bitnet"},
      // Without scaling of scores rounding grows; T5's logits are then divided by 16 (found: 2e-6 and 6e-4 at most).
      {"t5", 2e-5f},
      {"flan-t5", 2e-3f},
      {"transformer"}};
}

Json recordings() {
  const std::string path = test::golden("golden/peer/transformers.json").string();
  return parse_json(read_file(path), path);
}

class ParityTransformers : public ::testing::TestWithParam<TransformersCase> {};

TEST_P(ParityTransformers, LogitsEqualTransformers) {
  const Json recorded = recordings();
  const Json& model = recorded.at("models").at(GetParam().name);
  const test::TempDir parent;
  const std::filesystem::path folder = parent / "model";
  formats::synthesize(formats::synth_preset(model.at("preset").get<std::string>()), folder, {.codec = "F32"});
  // The recorded model's own description: weights do not depend on what is changed.
  const std::filesystem::path description = folder / "config.json";
  Json config = parse_json(read_file(description), description.string());
  for (const auto& [key, value] : model.at("config").items()) config[key] = value;
  write_file(description, config.dump());

  const formats::ModelFile file = formats::load_model(folder);
  Runtime runtime({.cpu = {.threads = 1}});
  const auto session = runtime.open(runtime.load(file), nullptr, {.kv_codec = kernels::KvCodec::kF32});
  const auto tokens = [&](const char* key) { return recorded.at(key).get<std::vector<text::TokenId>>(); };
  const auto stride = recorded.at("stride").get<std::size_t>();
  const auto want = model.at("logits").get<std::vector<float>>();
  std::size_t rows = 0;
  const auto compare = [&](std::size_t, std::span<const float> row) {
    ++rows;
    ASSERT_EQ(want.size(), (row.size() + stride - 1) / stride);
    float worst = 0;
    for (std::size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::abs(row[i * stride] - want[i]));
    EXPECT_LE(worst, GetParam().tolerance);
    RecordProperty("worst", std::to_string(worst));
  };
  if (file.architecture.encoder.n_layers > 0) {
    session->target_logits(tokens("source"), tokens("target"), tokens("target").size(), compare);
  } else {
    session->logits(tokens("ids"), tokens("ids").size() - 1, compare);
  }
  EXPECT_EQ(rows, 1u);
}

TEST(ParityTransformersList, HasEveryModelRecorded) {
  const Json recorded = recordings();
  std::set<std::string> names, listed;
  for (const auto& [name, model] : recorded.at("models").items()) names.insert(name);
  for (const TransformersCase& row : transformers_cases()) listed.insert(row.name);
  EXPECT_EQ(listed, names);
}

INSTANTIATE_TEST_SUITE_P(All, ParityTransformers, ::testing::ValuesIn(transformers_cases()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lathe::engine
