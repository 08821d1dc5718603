// The engine on the model that ships with Lathe: batching, prefix reuse, preemption, cancellation, programs, scores.
#include "engine/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "base/error.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

class SessionTest : public ::testing::Test {
 protected:
  SessionTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::unique_ptr<Session> open(SessionOptions options = {}) { return runtime_.open(model_, file_.tokenizer, options); }

  static api::GenerateRequest greedy(std::string prompt, std::uint32_t tokens) {
    api::GenerateRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = tokens;
    request.sampling.temperature = 0;
    return request;
  }

  static std::vector<text::TokenId> ids(const api::GenerateResult& result) {
    std::vector<text::TokenId> all;
    for (const auto& token : result.tokens) all.push_back(token.id);
    return all;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

const std::vector<std::string> kPrompts = {"Once upon a time", "Lily saw a big", "The dog ran to the park and", "Tom",
                                           "One day, a bird flew over the trees. It wanted to"};

TEST_F(SessionTest, ABatchGivesWhatEachRequestGivesAlone) {
  std::vector<api::GenerateRequest> requests;
  for (const std::string& prompt : kPrompts) requests.push_back(greedy(prompt, 40));
  for (std::size_t i = 0; i < requests.size(); i += 2) {
    requests[i].sampling = {.temperature = 1, .seed = i};
    requests[i].max_tokens = 25;
  }
  const auto together = open({.max_batch = 3, .chunk = 7})->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto alone = open()->generate(requests[i]);
    EXPECT_EQ(ids(together[i]), ids(alone)) << i;
    EXPECT_EQ(together[i].text, alone.text) << i;
  }
}

TEST_F(SessionTest, StreamedPiecesAreTheText) {
  std::string streamed;
  const auto result = open()->generate(greedy("Once upon a time", 60), [&](std::string_view piece) {
    streamed += piece;
    return true;
  });
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.tokens.size(), 60u);
  EXPECT_EQ(result.stop_reason, api::StopReason::kLength);
}

TEST_F(SessionTest, ARepeatedPromptComesFromThePrefixCacheAndChangesNothing) {
  const auto session = open();
  const std::string prompt =
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
      "big, red ball.";
  const auto first = session->generate(greedy(prompt, 50));
  const auto second = session->generate(greedy(prompt + " She", 50));
  const auto third = session->generate(greedy(prompt, 50));
  EXPECT_EQ(first.cached_prompt_tokens, 0u);
  EXPECT_GE(second.cached_prompt_tokens, 32u);
  EXPECT_GE(third.cached_prompt_tokens, 32u);
  EXPECT_EQ(ids(first), ids(third));
  EXPECT_EQ(ids(second), ids(open({.prefix_cache = false})->generate(greedy(prompt + " She", 50))));
}

TEST_F(SessionTest, WhenBlocksRunOutTheYoungestIsRecomputed) {
  std::vector<api::GenerateRequest> requests;
  for (const std::string& prompt : kPrompts) requests.push_back(greedy(prompt, 120));
  const kernels::KvLayout layout{kernels::KvCodec::kF16, file_.architecture.n_kv_heads, file_.architecture.head_dim,
                                 file_.architecture.v_head_dim, 32};
  const std::uint64_t block = runtime_.backend().kv_block_bytes(layout) * file_.architecture.n_layers;
  Runtime tight({.cpu = {.threads = 2}, .kv_bytes = 9 * block});  // five sequences grow to five blocks each
  const auto model = tight.load(file_);
  const auto results = tight.open(model, file_.tokenizer, {.max_batch = 5})->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(ids(results[i]), ids(open()->generate(requests[i]))) << i;
}

TEST_F(SessionTest, ARequestThatCanNeverFitIsAnErrorAndTheSessionGoesOn) {
  const kernels::KvLayout layout{kernels::KvCodec::kF16, file_.architecture.n_kv_heads, file_.architecture.head_dim,
                                 file_.architecture.v_head_dim, 32};
  const std::uint64_t block = runtime_.backend().kv_block_bytes(layout) * file_.architecture.n_layers;
  Runtime tight({.cpu = {.threads = 1}, .kv_bytes = 2 * block});
  const auto session = tight.open(tight.load(file_), file_.tokenizer);
  EXPECT_THROW(session->generate(greedy("Once", 200)), Error);
  EXPECT_EQ(session->generate(greedy("Once", 20)).tokens.size(), 20u);
}

TEST_F(SessionTest, StopsAtAStopString) {
  auto request = greedy("Once upon a time", 100);
  request.stop = {"girl"};
  const auto result = open()->generate(request);
  EXPECT_EQ(result.stop_reason, api::StopReason::kStopString);
  EXPECT_EQ(result.text, ", there was a little ");
}

TEST_F(SessionTest, StopsWhenTheContextIsFull) {
  const auto result = open({.context = 20})->generate(greedy("Once upon a time", 100));
  EXPECT_EQ(result.stop_reason, api::StopReason::kContextFull);
  EXPECT_EQ(result.prompt_ids.size() + result.tokens.size(), 20u);
  EXPECT_THROW(open({.context = 4})->generate(greedy("Once upon a time there was a girl", 1)), Error);
}

TEST_F(SessionTest, CallbackAndTokenCancel) {
  const auto session = open();
  int pieces = 0;
  const auto result = session->generate(greedy("Once", 100), [&](std::string_view) { return ++pieces < 5; });
  EXPECT_EQ(result.stop_reason, api::StopReason::kCancelled);
  EXPECT_LT(result.tokens.size(), 10u);
  CancelToken token;
  session->set_cancel_token(&token);
  const auto later = session->generate(greedy("Once", 100), [&](std::string_view) {
    token.cancel();
    return true;
  });
  EXPECT_EQ(later.stop_reason, api::StopReason::kCancelled);
}

TEST_F(SessionTest, ThreadsShareOneSession) {
  const auto session = open();
  std::vector<api::GenerateResult> results(kPrompts.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kPrompts.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = session->generate(greedy(kPrompts[i], 30)); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < kPrompts.size(); ++i)
    EXPECT_EQ(ids(results[i]), ids(open()->generate(greedy(kPrompts[i], 30)))) << i;
}

TEST_F(SessionTest, AProgramFeedsVariablesForward) {
  const auto session = open();
  Program program;
  const VariableId start = program.add_variable("start", "Once upon a time"), first = program.add_variable("first"),
                   second = program.add_variable("second");
  Node a, b;
  a.prompt = {start};
  a.output = first;
  a.request = greedy("", 12);
  b.prompt = {start, first};
  b.output = second;
  b.request = greedy("", 12);
  program.add_node(a);
  program.add_node(b);
  session->run(program);
  const auto one = session->generate(greedy("Once upon a time", 12));
  EXPECT_EQ(program.variables[first].value, one.text);
  EXPECT_EQ(program.variables[second].value, session->generate(greedy("Once upon a time" + one.text, 12)).text);
}

TEST_F(SessionTest, ABadNodeFailsTheProgramAndNothingElse) {
  const auto session = open();
  Program program;
  Node good, bad;
  good.prompt = {"Once"};
  good.output = program.add_variable("good");
  good.request = greedy("", 30);
  bad.prompt = {"Once"};
  bad.output = program.add_variable("bad");
  bad.request = greedy("", 5);
  bad.request.sampling.top_p = 7;
  program.add_node(good);
  program.add_node(bad);
  EXPECT_THROW(session->run(program), UsageError);
  EXPECT_EQ(session->generate(greedy("Once", 5)).tokens.size(), 5u);
}

TEST_F(SessionTest, ScoresAreTheLogitsLogSoftmax) {
  const auto session = open();
  const auto scores = session->score("Once upon a time", ", there was");
  const auto context = session->tokenizer().encode("Once upon a time");
  const auto continuation = session->tokenizer().encode(", there was", {.add_special = false});
  ASSERT_EQ(scores.size(), continuation.size());
  std::vector<text::TokenId> all = context;
  all.insert(all.end(), continuation.begin(), continuation.end());
  std::size_t next = 0;
  session->logits(all, context.size() - 1, [&](std::size_t position, std::span<const float> row) {
    if (position + 1 >= all.size()) return;
    double sum = 0;
    for (const float logit : row) sum += std::exp(double{logit});
    EXPECT_NEAR(scores[next].logprob, row[static_cast<std::size_t>(all[position + 1])] - std::log(sum), 1e-4);
    EXPECT_EQ(scores[next++].id, all[position + 1]);
  });
  EXPECT_EQ(next, scores.size());
}

TEST_F(SessionTest, EmbeddingsHaveTheModelsWidthAndUnitLength) {
  const auto session = open();
  const std::vector<std::string> texts = {"A dog ran.", "A dog ran!"};
  for (const auto pooling : {api::Pooling::kMean, api::Pooling::kCls, api::Pooling::kLast}) {
    const auto vectors = session->embed(texts, {.pooling = pooling, .normalize = true});
    ASSERT_EQ(vectors.size(), 2u);
    double length = 0, dot = 0;
    for (std::size_t i = 0; i < vectors[0].size(); ++i) {
      length += double{vectors[0][i]} * vectors[0][i];
      dot += double{vectors[0][i]} * vectors[1][i];
    }
    EXPECT_EQ(vectors[0].size(), session->dimension());
    EXPECT_NEAR(length, 1, 1e-5);
    if (pooling == api::Pooling::kCls) {
      EXPECT_NEAR(dot, 1, 1e-5) << "the first token sees only itself";
    }
  }
}

TEST_F(SessionTest, EmbeddingsDoNotDependOnWhatTheyAreBatchedWith) {
  std::vector<std::string> texts = kPrompts;
  texts.push_back("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. ");
  for (const auto pooling : {api::Pooling::kMean, api::Pooling::kCls, api::Pooling::kLast}) {
    const auto together = open({.max_batch = 4, .chunk = 11})->embed(texts, {.pooling = pooling});
    ASSERT_EQ(together.size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i)
      EXPECT_EQ(open({.max_batch = 1})->embed({&texts[i], 1}, {.pooling = pooling}).front(), together[i]) << i;
  }
}

TEST_F(SessionTest, ATextThatCannotBeEmbeddedIsNamed) {
  const auto session = open({.context = 16});
  const std::vector<std::string> texts = {"Tom", kPrompts[4] + kPrompts[4]};
  try {
    session->embed(texts);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "text 2");
  }
}

TEST_F(SessionTest, IdsOutsideTheVocabularyAreRefused) {
  const auto session = open();
  api::GenerateRequest request = greedy("", 3);
  request.prompt_ids = {1, 512};
  EXPECT_THROW(session->generate(request), Error);
  request.prompt_ids = {-1};
  EXPECT_THROW(session->generate(request), Error);
  EXPECT_THROW(session->logits(std::vector<text::TokenId>{600}, 0, [](std::size_t, std::span<const float>) {}), Error);
}

}  // namespace
}  // namespace lathe::engine
