// The story models against recordings of llama.cpp (tests/golden/peer): greedy continuations, logits, and quantized
// weights made here with the bytes it made.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/json.h"
#include "engine/parity_support.h"
#include "support/data.h"

namespace lathe::test {
namespace {

constexpr std::string_view k260 = "models/stories260K/stories260K.gguf",
                           k3M = "models/stories3M-q80/stories3M-f16.gguf";

// float32 arithmetic on both sides differs in the order of sums alone: 1e-4 in logits of up to +-18, and so in a gap
// between two of them 2e-4.
constexpr double kF32Logits = 1e-4, kF32Gap = 2e-4;
// The peer rounds activations to half before F16 products.
constexpr double kF16Logits = 0.05, kF16Gap = 0.02;

ExecutorOptions options() { return {.max_rows = 128, .context = 512, .block_tokens = 32, .kv_bytes = 256 << 20}; }

std::filesystem::path peer(std::string_view name) { return golden("golden/peer/" + std::string(name)); }

Executor executor_for(const formats::ModelFile& file) {
  return Executor(file.architecture, file.weights, cpu(2), options());
}

TEST(ParityStories260K, GreedyEqualsThePeers) {
  LATHE_NEED_SHARED(k260);
  const formats::ModelFile file = formats::load_model(shared(k260));
  Executor executor = executor_for(file);
  expect_greedy(executor, peer("greedy-stories260K.json"), 100, kF32Gap);
}

TEST(ParityStories260K, LogitsEqualThePeers) {
  LATHE_NEED_SHARED(k260);
  const formats::ModelFile file = formats::load_model(shared(k260));
  Executor executor = executor_for(file);
  expect_logits(executor, peer("logits-stories260K.json"), kF32Logits);
}

// The F16 file holds the same weights as the F32 recordings, and our F16 products do not round activations: so it is
// held to the exact recordings, and loosely to the F16 ones.
TEST(ParityStories3M, GreedyEqualsThePeers) {
  LATHE_NEED_SHARED(k3M);
  const formats::ModelFile file = formats::load_model(shared(k3M));
  Executor executor = executor_for(file);
  expect_greedy(executor, peer("greedy-stories3M-f32.json"), 30, kF32Gap);
  expect_greedy(executor, peer("greedy-stories3M-f16.json"), 30, kF16Gap);
}

TEST(ParityStories3M, LogitsEqualThePeers) {
  LATHE_NEED_SHARED(k3M);
  const formats::ModelFile file = formats::load_model(shared(k3M));
  Executor executor = executor_for(file);
  expect_logits(executor, peer("logits-stories3M-f32.json"), kF32Logits);
  expect_logits(executor, peer("logits-stories3M-f16.json"), kF16Logits);
}

TEST(ParityStories3M, WidenedToF32GivesTheSame) {
  LATHE_NEED_SHARED(k3M);
  const formats::ModelFile file = formats::load_model(shared(k3M));
  const arch::Weights wide = repacked(file.weights, [](const std::string&) { return std::string("F32"); });
  Executor executor(file.architecture, wide, cpu(2), options());
  expect_logits(executor, peer("logits-stories3M-f32.json"), kF32Logits);
}

// A recording of the weights quantized with one of the simple types; the matrices of other types follow the peer's
// recipe (the tied embedding of a mix is Q8_0).
class ParityQuantized : public testing::TestWithParam<const char*> {};

TEST_P(ParityQuantized, WeightsMadeHereRunAsThePeersDo) {
  LATHE_NEED_SHARED(k3M);
  const Json recorded = read_json(peer("quantized-stories3M.json"));
  const Json* made = nullptr;
  for (const Json& model : recorded["models"]) {
    if (model["recipe"] == GetParam()) made = &model;
  }
  ASSERT_NE(made, nullptr);
  const std::string main_type = (*made)["main_type"];
  const formats::ModelFile file = formats::load_model(shared(k3M));
  const arch::Weights quantized = repacked(file.weights, [&](const std::string& name) {
    const bool matrix = file.weights.at(name).shape.rank() == 2;
    return std::string(!matrix                                                                  ? "F32"
                       : name == "token_embd.weight" && !(*made)["pure"] && main_type != "BF16" ? "Q8_0"
                                                                                                : main_type);
  });
  std::map<std::string, int> types;
  for (const auto& [name, tensor] : quantized.all()) ++types[std::string(tensor.codec->name())];
  EXPECT_EQ(types, ((*made)["tensor_types"].get<std::map<std::string, int>>()));

  // "exact": all arithmetic on the expanded weights. "native": the peer rounds activations to 8 bits, as the integer
  // kernels do; what is left is how each rounds, so logits are held to a tenth of their spread and no texts compared.
  const arch::Weights wide = repacked(quantized, [](const std::string&) { return std::string("F32"); });
  for (const auto& [key, weights, tolerance] :
       {std::tuple("exact", &wide, 2 * kF32Logits), std::tuple("native", &quantized, 1.0)}) {
    Executor executor(file.architecture, *weights, cpu(2), options());
    for (const Json& run : (*made)[key]) {
      const std::size_t prompt = run["prompt_index"];
      const Ids ids = read_json(peer("greedy-stories3M-f16.json"))["runs"][prompt]["ids"].get<Ids>();
      const auto state = executor.sequence();
      const auto logits = executor.logits(*state, ids);
      const float* last = logits.data() + logits.size() - file.architecture.vocab_size;
      const auto sampled = floats_from_hex(run["every_64th_logit_f32le"].get<std::string>());
      double worst = 0;
      for (std::size_t i = 0; i < sampled.size(); ++i)
        worst = std::max<double>(worst, std::abs(last[i * 64] - sampled[i]));
      EXPECT_LT(worst, tolerance) << key << ", prompt " << prompt;
      if (key != std::string("exact")) continue;
      const Ids prompts[] = {ids};
      const Continuation ours = greedy(executor, prompts, 20).front();
      for (std::size_t step = 0; step < 20; ++step) {
        if (ours.ids[step] == run["greedy"][step]) continue;
        EXPECT_LT(run["gap"][step].get<double>(), 4 * kF32Logits) << "prompt " << prompt << ", step " << step;
        break;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(SimpleTypes, ParityQuantized,
                         testing::Values("Q8_0", "Q4_0", "Q4_0-pure", "Q4_1", "Q5_0", "Q5_1", "BF16"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The other recipes need the peer's own encoders (searches that differ in the order of float operations); their files
// are not here.
TEST(ParityQuantizedOthers, AreNotRebuilt) {
  const Json recorded = read_json(peer("quantized-stories3M.json"));
  std::string names;
  for (const Json& model : recorded["models"]) {
    if (!model.contains("tensor_sha256_16")) names += " " + model["recipe"].get<std::string>();
  }
  GTEST_SKIP() << "SKIPPED: only the peer makes the files of these recordings:" << names;
}

}  // namespace
}  // namespace lathe::test
