// Every sampler against its definition, and draws against the softmax.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace lathe::engine {
namespace {

using api::SamplingParams;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingParams plain(float temperature = 1) {
  return {.temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1};
}

// Share of each id over many draws.
std::map<text::TokenId, double> shares(SamplingParams params, const std::vector<float>& logits, int draws = 40000) {
  Sampler sampler(params);
  std::map<text::TokenId, double> result;
  for (int i = 0; i < draws; ++i) result[sampler.sample(logits, {})] += 1.0 / draws;
  return result;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdOnATie) {
  Sampler sampler(plain(0));
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2, 3}, {}), 1);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  const std::vector<float> logits = {0, 1, 2};
  const double sum = 1 + std::exp(1.0) + std::exp(2.0);
  const auto result = shares(plain(), logits);
  for (int id = 0; id < 3; ++id) EXPECT_NEAR(result.at(id), std::exp(double(id)) / sum, 0.01) << id;
}

TEST(Sampler, TemperatureDividesLogits) {
  const auto result = shares(plain(0.5f), {0, 1});
  EXPECT_NEAR(result.at(1), 1 / (1 + std::exp(-2.0)), 0.01);
}

TEST(Sampler, TopKKeepsTheKMostLikely) {
  SamplingParams params = plain();
  params.top_k = 2;
  const auto result = shares(params, {5, 1, 4, 3}, 2000);
  EXPECT_EQ(result.size(), 2u);
  EXPECT_TRUE(result.contains(0) && result.contains(2));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  // Probabilities 0.5, 0.3, 0.2.
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  SamplingParams params = plain();
  params.top_p = 0.75f;
  EXPECT_EQ(shares(params, logits, 2000).size(), 2u);
  params.top_p = 0.45f;
  EXPECT_EQ(shares(params, logits, 2000).size(), 1u);
}

TEST(Sampler, MinPKeepsTokensRelativeToTheMostLikely) {
  const std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  SamplingParams params = plain();
  params.min_p = 0.4f;  // keeps at least 0.24
  const auto result = shares(params, logits, 20000);
  EXPECT_EQ(result.size(), 2u);
  EXPECT_NEAR(result.at(0), 2.0 / 3, 0.02);
}

TEST(Sampler, RepeatPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingParams params = plain(0);
  params.repeat_penalty = 2;
  Sampler sampler(params);
  const std::vector<text::TokenId> history = {0};
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2, 1}, history), 1);    // 1.5 < 2
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1.5f}, history), 1);  // -2 < -1.5
  params.repeat_window = 1;
  Sampler short_memory(params);
  EXPECT_EQ(short_memory.sample(std::vector<float>{3, 2, 1}, std::vector<text::TokenId>{0, 2}), 0);
}

TEST(Sampler, LogitBiasForcesAndForbids) {
  SamplingParams params = plain();
  params.logit_bias = {{0, -kInfinity}};
  EXPECT_FALSE(shares(params, {9, 1, 1}, 2000).contains(0));
  params.logit_bias = {{2, kInfinity}};
  EXPECT_EQ(shares(params, {9, 1, 1}, 100).size(), 1u);
  EXPECT_TRUE(shares(params, {9, 1, 1}, 100).contains(2));
}

TEST(Sampler, TheSameSeedGivesTheSameDraws) {
  SamplingParams params = plain();
  params.seed = 7;
  const std::vector<float> logits(100, 0.0f);
  Sampler a(params), b(params);
  params.seed = 8;
  Sampler c(params);
  int different = 0;
  for (int i = 0; i < 50; ++i) {
    const text::TokenId id = a.sample(logits, {});
    EXPECT_EQ(id, b.sample(logits, {}));
    different += id != c.sample(logits, {});
  }
  EXPECT_GT(different, 25);
}

TEST(Sampler, NaNsAreNeverChosenAndAllNaNIsAnError) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Sampler sampler(plain(0));
  EXPECT_EQ(sampler.sample(std::vector<float>{nan, -5, nan}, {}), 1);
  EXPECT_THROW(sampler.sample(std::vector<float>{nan, nan, -kInfinity}, {}), Error);
}

TEST(Sampler, ABiasThatForbidsEveryTokenIsNamed) {
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingParams params = plain(temperature);
    params.logit_bias = {{0, -kInfinity}, {2, -kInfinity}};
    Sampler sampler(params);
    const auto message = [&](const std::vector<float>& logits) -> std::string {
      try {
        sampler.sample(logits, {});
      } catch (const Error& error) {
        return error.what();
      }
      return "";
    };
    EXPECT_EQ(message({1, 2, 3}), "");
    EXPECT_NE(message({1, -kInfinity, 3}).find("logit bias"), std::string::npos);  // a grammar forbids the other
    EXPECT_NE(message({-kInfinity, -kInfinity, -kInfinity}).find("damaged"), std::string::npos);
  }
}

TEST(Sampler, ImpossibleSettingsAreRefused) {
  const auto refused = [](auto change) {
    SamplingParams params = plain();
    change(params);
    EXPECT_THROW(validate(params, 10), UsageError);
  };
  validate(plain(), 10);
  refused([](auto& p) { p.temperature = -1; });
  refused([](auto& p) { p.temperature = std::numeric_limits<float>::quiet_NaN(); });
  refused([](auto& p) { p.top_k = -1; });
  refused([](auto& p) { p.top_p = 0; });
  refused([](auto& p) { p.top_p = 1.5f; });
  refused([](auto& p) { p.min_p = -0.1f; });
  refused([](auto& p) { p.repeat_penalty = 0; });
  refused([](auto& p) { p.logit_bias = {{10, 1.0f}}; });
}

TEST(TokenLogprobs, AreTheLogSoftmax) {
  const std::vector<float> logits = {1, 2, 3};
  const double normaliser = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  const api::GeneratedToken token = token_logprobs(logits, 0, 2);
  EXPECT_NEAR(token.logprob, 1 - normaliser, 1e-6);
  ASSERT_EQ(token.alternatives.size(), 2u);
  EXPECT_EQ(token.alternatives[0].id, 2);
  EXPECT_NEAR(token.alternatives[1].logprob, 2 - normaliser, 1e-6);
}

}  // namespace
}  // namespace lathe::engine
