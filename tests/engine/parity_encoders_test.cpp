// Encoders from text to vector against llama.cpp, on synthetic models (tests/golden/peer/README.md says how they were
// recorded): the tokens, and the vectors under each pooling.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "engine/session.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

// llama.cpp takes GELU's tanh form, from a table of half-precision numbers; elements reach about 3.
constexpr float kTolerance = 3e-3f;

class ParityEncoders : public ::testing::TestWithParam<std::string> {};

TEST_P(ParityEncoders, VectorsEqualLlamaCpp) {
  const std::string path = test::golden("golden/peer/encoders.json").string();
  const Json recorded = parse_json(read_file(path), path);
  const Json& expected = recorded.at("models").at(GetParam());
  const test::TempDir folder;
  formats::synthesize(formats::synth_preset(GetParam() + "-tiny"), folder / "model.gguf", {.codec = "F32"});
  const formats::ModelFile file = formats::load_model(folder / "model.gguf");
  Runtime runtime({.cpu = {.threads = 1}});
  const auto session = runtime.open(runtime.load(file), file.tokenizer, {.kv_codec = kernels::KvCodec::kF32});
  const auto texts = recorded.at("texts").get<std::vector<std::string>>();
  for (const auto& [name, pooling] : {std::pair("mean", api::Pooling::kMean), std::pair("cls", api::Pooling::kCls),
                                      std::pair("last", api::Pooling::kLast)}) {
    const auto vectors = session->embed(texts, {.pooling = pooling});
    ASSERT_EQ(vectors.size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(file.tokenizer->encode(texts[i]), expected.at("ids")[i].get<std::vector<text::TokenId>>()) << texts[i];
      const auto want = expected.at(name)[i].get<std::vector<float>>();
      ASSERT_EQ(vectors[i].size(), want.size());
      for (std::size_t k = 0; k < want.size(); ++k)
        ASSERT_NEAR(vectors[i][k], want[k], kTolerance) << name << " of \"" << texts[i] << "\", element " << k;
    }
  }
}

// A text with company, and in passes too small for all texts, is what it is alone.
TEST_P(ParityEncoders, VectorsDependOnTheirTextOnly) {
  const test::TempDir folder;
  formats::synthesize(formats::synth_preset(GetParam() + "-tiny"), folder / "model.gguf", {.codec = "Q8_0"});
  const formats::ModelFile file = formats::load_model(folder / "model.gguf");
  Runtime runtime({.cpu = {.threads = 2}});
  const auto model = runtime.load(file);
  const std::vector<std::string> texts = {"the cat sat on the mat", "a", "one two three four five six seven eight nine",
                                          "rain in the mountains"};
  const auto together = runtime.open(model, file.tokenizer, {.context = 40, .chunk = 8})->embed(texts);
  const auto alone = runtime.open(model, file.tokenizer);
  for (std::size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(alone->embed({&texts[i], 1}).front(), together[i]) << texts[i];
}

TEST_P(ParityEncoders, GenerateNothing) {
  const test::TempDir folder;
  formats::synthesize(formats::synth_preset(GetParam() + "-tiny"), folder / "model.gguf", {.codec = "Q8_0"});
  const formats::ModelFile file = formats::load_model(folder / "model.gguf");
  Runtime runtime({.cpu = {.threads = 1}});
  const auto session = runtime.open(runtime.load(file), file.tokenizer);
  try {
    session->generate({.prompt = "the cat"});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lathe embed"), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(All, ParityEncoders, ::testing::Values("bert", "roberta", "nomic-bert"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lathe::engine
