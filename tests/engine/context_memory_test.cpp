// The infllm policy behind a session: the model that ships with Lathe reads far more than it was trained on, and a
// row's result depends neither on its neighbours nor on the size of passes.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

constexpr const char* kPolicy = "infllm:32+128,block=32,blocks=4,step=64";

class ContextMemoryTest : public ::testing::Test {
 protected:
  ContextMemoryTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::unique_ptr<Session> open(const std::string& policy, std::uint32_t chunk = 256, std::uint32_t context = 4096) {
    SessionOptions options;
    options.context = context;
    options.kv_policy = policy;
    options.chunk = chunk;
    return runtime_.open(model_, file_.tokenizer, options);
  }

  static api::GenerateRequest request(std::size_t sentences) {
    api::GenerateRequest request;
    for (std::size_t i = 0; i < sentences; ++i)
      request.prompt += i % 7 == 0 ? "Once upon a time. " : "She ran to the park. ";
    request.max_tokens = 40;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    return request;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

TEST_F(ContextMemoryTest, NeighboursAndPassesDoNotChangeWhatIsSaid) {
  const std::vector<api::GenerateRequest> requests = {request(230), request(3), request(120), request(64)};
  std::vector<std::string> alone;
  for (const auto& one : requests) {
    alone.push_back(open(kPolicy)->generate(one).text);
    EXPECT_FALSE(alone.back().empty());
  }
  for (const std::uint32_t chunk : {64u, 100u, 512u}) {
    const auto results = open(kPolicy, chunk)->generate_all(requests);
    for (std::size_t i = 0; i < requests.size(); ++i)
      EXPECT_EQ(results[i].text, alone[i]) << i << " in passes of " << chunk;
  }
}

TEST_F(ContextMemoryTest, ReadsManyTimesTheTrainedContext) {
  const api::GenerateResult result = open(kPolicy, 256, 16384)->generate(request(900));
  EXPECT_GT(result.prompt_ids.size(), 3 * file_.architecture.context_length);
  EXPECT_EQ(result.tokens.size(), 40u);
  // The text is still words, though every token stands far beyond the trained positions.
  std::size_t known = 0;
  for (const char* word : {"the", "and", "was", "to", "a "})
    known += result.text.find(word) != std::string::npos ? 1 : 0;
  EXPECT_GE(known, 2u) << result.text;
}

TEST_F(ContextMemoryTest, BlocksAreGivenBack) {
  const auto session = open(kPolicy);
  session->generate(request(150));
  EXPECT_EQ(session->stats().kv_blocks_in_use, 0u);
}

TEST_F(ContextMemoryTest, WhatCannotWorkIsRefused) {
  const auto refuses = [&](const std::string& policy, const std::string& what, DraftOptions draft = {}) {
    SessionOptions options;
    options.kv_policy = policy;
    options.draft = std::move(draft);
    try {
      runtime_.open(model_, file_.tokenizer, options);
      ADD_FAILURE() << policy << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  refuses("infllm:128+4096", "longer than the 2048 positions");
  refuses(kPolicy, "guesses", {.kind = DraftKind::kNgram});
  const auto session = open("infllm:33+128,block=32,step=64");
  EXPECT_THROW(session->generate(request(3)), Error);
}

}  // namespace
}  // namespace lathe::engine
