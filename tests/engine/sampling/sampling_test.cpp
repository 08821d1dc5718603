// Every piece of the sampler chain against its definition computed another way, and draws against their distribution.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"
#include "engine/sampler.h"
#include "engine/sampling/draw.h"
#include "engine/sampling/mirostat.h"
#include "engine/sampling/penalties.h"
#include "engine/sampling/truncation.h"

namespace lathe::engine::sampling {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Seeded logits with ties, forbidden tokens and a NaN among them.
std::vector<float> messy_logits(std::size_t count, std::uint64_t seed) {
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>(next_random(seed) >> 40) / (1 << 22) - 2;
  logits[count / 2] = logits[0];
  logits[count / 3] = -kInfinity;
  logits[count / 5] = std::numeric_limits<float>::quiet_NaN();
  return logits;
}

std::vector<text::TokenId> ids(const Candidates& candidates) {
  std::vector<text::TokenId> result;
  for (const Candidate& one : candidates) result.push_back(one.id);
  return result;
}

// softmax by its definition, in long double.
std::map<text::TokenId, long double> softmax(const Candidates& candidates, long double temperature = 1) {
  long double sum = 0;
  std::map<text::TokenId, long double> result;
  for (const Candidate& one : candidates) sum += result[one.id] = std::exp(one.logit / temperature);
  for (auto& [id, p] : result) p /= sum;
  return result;
}

TEST(Candidates, TopKIsTheHeadOfTheSortedVocabulary) {
  const std::vector<float> logits = messy_logits(101, 1);
  std::vector<std::pair<float, text::TokenId>> naive;  // by logit from the largest, then by id
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) naive.emplace_back(-logits[i], static_cast<text::TokenId>(i));
  }
  std::sort(naive.begin(), naive.end());
  for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{40}, std::size_t{99}, std::size_t{100},
                              std::size_t{500}, std::size_t{0}}) {
    Candidates candidates;
    take_top_k(candidates, logits, k);
    const std::size_t expected = k == 0 ? naive.size() : std::min(k, naive.size());
    ASSERT_EQ(candidates.size(), expected) << k;
    for (std::size_t i = 0; i < expected; ++i) EXPECT_EQ(candidates[i].id, naive[i].second) << k << " " << i;
  }
}

TEST(Candidates, ProbabilitiesAreTheSoftmax) {
  Candidates candidates;
  take_all(candidates, messy_logits(50, 2));
  for (const double temperature : {0.3, 1.0, 2.5}) {
    const auto expected = softmax(candidates, temperature);
    const auto p = probabilities(candidates, temperature);
    for (std::size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(p[i], double(expected.at(candidates[i].id)), 1e-12);
  }
  EXPECT_EQ(probabilities(Candidates{{2, 0}, {kInfinity, 1}}), (std::vector<double>{0, 1}));
}

TEST(Penalties, AreTheirFormulas) {
  std::vector<float> logits = {1, -1, 2, -2, 0.5f};
  const std::vector<text::TokenId> text = {0, 3, 0, 0, 4};
  penalise_counts(logits, text, 0.25f, 0.5f);
  EXPECT_EQ(logits, (std::vector<float>{1 - 0.25f - 3 * 0.5f, -1, 2, -2 - 0.75f, 0.5f - 0.75f}));
  logits = {1, -1, 2, -2, 0.5f};
  penalise_repeats(logits, text, 4);
  EXPECT_EQ(logits, (std::vector<float>{0.25f, -1, 2, -8, 0.125f}));
}

TEST(Penalties, CountWhatWasGeneratedAndNotThePrompt) {
  const api::SamplingParams params = {.temperature = 0, .presence_penalty = 5};
  const std::vector<float> logits = {3, 2, 1};
  const std::vector<text::TokenId> history = {0, 1};
  EXPECT_EQ(Sampler(params).sample(logits, history), 2);
  EXPECT_EQ(Sampler(params, 1).sample(logits, history), 0);
  EXPECT_EQ(Sampler(params, 2).sample(logits, history), 0);
  const api::SamplingParams reward = {.temperature = 0, .frequency_penalty = -1};
  EXPECT_EQ(Sampler(reward).sample(logits, std::vector<text::TokenId>{2, 2, 2, 1}), 2);
}

// The definition, read literally: take the token whose surprise is nearest to the entropy, until p is reached.
std::set<text::TokenId> naive_typical(const Candidates& candidates, double p) {
  auto probability = softmax(candidates);
  long double entropy = 0, sum = 0;
  for (const auto& [id, q] : probability) entropy -= q * std::log(q);
  std::set<text::TokenId> kept;
  while (sum < p && !probability.empty()) {
    const auto nearest = std::min_element(probability.begin(), probability.end(), [&](const auto& a, const auto& b) {
      return std::abs(std::log(a.second) + entropy) < std::abs(std::log(b.second) + entropy);
    });
    sum += nearest->second;
    kept.insert(nearest->first);
    probability.erase(nearest);
  }
  return kept;
}

TEST(Truncation, TypicalKeepsWhatItsDefinitionKeeps) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const double p : {0.05, 0.2, 0.5, 0.9, 0.999}) {
      Candidates candidates;
      auto logits = messy_logits(61, seed);
      logits[30] += 1e-3f;  // a tie would let two right answers differ
      take_top_k(candidates, logits, 0);
      const auto expected = naive_typical(candidates, p);
      keep_typical(candidates, p);
      const auto kept = ids(candidates);
      EXPECT_EQ(std::set<text::TokenId>(kept.begin(), kept.end()), expected) << seed << " " << p;
      EXPECT_TRUE(std::is_sorted(candidates.begin(), candidates.end(),
                                 [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; }));
    }
  }
}

TEST(Truncation, TypicalDropsTheObviousToken) {
  // Probabilities 0.4 and ten of 0.06: entropy 2.05 nats, to which 2.81, the surprise of the ten, is nearer than 0.92.
  std::vector<float> logits(11, std::log(0.06f));
  logits[0] = std::log(0.4f);
  Candidates candidates;
  take_top_k(candidates, logits, 0);
  keep_typical(candidates, 0.25);
  EXPECT_EQ(ids(candidates), (std::vector<text::TokenId>{1, 2, 3, 4, 5}));
}

TEST(Truncation, TopPAndMinPKeepTheShortestHead) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const double p : {0.01, 0.3, 0.8, 0.99}) {
      Candidates all, by_sum, by_ratio;
      take_top_k(all, messy_logits(47, seed), 0);
      const auto probability = softmax(all);
      std::size_t head = 0, near = 0;
      for (long double sum = 0; head < all.size() && sum < p; ++head) sum += probability.at(all[head].id);
      for (const Candidate& one : all) near += probability.at(one.id) >= p * probability.at(all[0].id);
      by_sum = by_ratio = all;
      keep_top_p(by_sum, p);
      keep_min_p(by_ratio, p);
      EXPECT_EQ(by_sum.size(), head) << seed << " " << p;
      EXPECT_EQ(by_ratio.size(), near) << seed << " " << p;
    }
  }
}

TEST(Draw, FollowsTheSoftmaxByAChiSquareTest) {
  Candidates candidates;
  take_all(candidates, messy_logits(23, 3));
  for (const double temperature : {0.7, 1.0, 3.0}) {
    const auto expected = softmax(candidates, temperature);
    std::map<text::TokenId, int> counts;
    std::uint64_t state = 11;
    constexpr int kDraws = 100000;
    for (int i = 0; i < kDraws; ++i) ++counts[draw(candidates, temperature, next_random(state))];
    double statistic = 0;
    for (const auto& [id, p] : expected) {
      const double mean = double(p) * kDraws;
      statistic += (counts[id] - mean) * (counts[id] - mean) / mean;
    }
    EXPECT_LT(statistic, 45.31) << temperature;  // 99.9 % of chi-square with 20 degrees of freedom
    EXPECT_GT(statistic, 5.92) << temperature;   // 0.1 %
  }
}

TEST(Draw, StepsAreIndependent) {
  const Candidates coin = {{0, 0}, {0, 1}};
  std::uint64_t state = 5;
  std::map<std::pair<text::TokenId, text::TokenId>, int> pairs;
  text::TokenId last = draw(coin, 1, next_random(state));
  for (int i = 0; i < 40000; ++i) {
    const text::TokenId next = draw(coin, 1, next_random(state));
    ++pairs[{last, next}];
    last = next;
  }
  for (const auto& [pair, count] : pairs) EXPECT_NEAR(count, 10000, 4 * std::sqrt(7500.0));
}

TEST(Draw, NearDistributionsAgreeAsOftenAsPromised) {
  for (const float shift : {0.1f, 0.5f, 1.5f}) {
    Candidates p, q;
    std::vector<float> logits = messy_logits(23, 4);
    take_all(p, logits);
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] += i % 2 == 0 ? shift : -shift;
    take_all(q, logits);
    const auto of_p = softmax(p), of_q = softmax(q);
    double distance = 0;
    for (const auto& [id, probability] : of_p) distance += 0.5 * std::abs(double(probability - of_q.at(id)));
    std::uint64_t state = 6;
    int same = 0;
    constexpr int kDraws = 40000;
    for (int i = 0; i < kDraws; ++i) {
      const std::uint64_t key = next_random(state);
      same += draw(p, 1, key) == draw(q, 1, key);
    }
    EXPECT_GE(double(same) / kDraws, (1 - distance) / (1 + distance) - 0.01) << shift;
    EXPECT_LE(double(same) / kDraws, 1 - distance + 0.01) << shift;  // no coupling can do better
  }
}

// p_i proportional to i^-exponent.
std::vector<float> zipf_logits(std::size_t count, double exponent) {
  std::vector<float> logits(count);
  for (std::size_t i = 0; i < count; ++i) logits[i] = static_cast<float>(-exponent * std::log(double(i + 1)));
  return logits;
}

TEST(Mirostat, Version1KeepsAsManyTokensAsZipfsLawSays) {
  for (const double exponent : {1.1, 1.5, 2.0}) {
    for (const double target : {1.0, 2.0, 3.0}) {
      Candidates candidates;
      take_top_k(candidates, zipf_logits(5000, exponent), 0);
      Mirostat(1, target, 0.1).cut(candidates, 5000, 1);
      const double epsilon = exponent - 1;
      const double k = std::pow(epsilon * std::pow(2.0, 2 * target) / (1 - std::pow(5000.0, -epsilon)), 1 / exponent);
      EXPECT_NEAR(double(candidates.size()), std::max(1.0, k), 0.51) << exponent << " " << target;
    }
  }
}

TEST(Mirostat, Version2KeepsTokensBelowItsBoundAndCorrectsIt) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.25f), std::log(0.125f), std::log(0.0625f),
                                     std::log(0.0625f)};  // surprises 1, 2, 3, 4, 4 bits
  Mirostat mirostat(2, 1.25, 0.5);
  Candidates candidates;
  take_top_k(candidates, logits, 0);
  mirostat.cut(candidates, 5, 1);
  EXPECT_EQ(ids(candidates), (std::vector<text::TokenId>{0, 1}));  // bound 2.5
  mirostat.observe(0);                                             // 2.5 - 0.5 (1 - 1.25) = 2.625
  take_top_k(candidates, logits, 0);
  mirostat.cut(candidates, 5, 1);
  EXPECT_EQ(candidates.size(), 2u);
  mirostat.observe(0);
  mirostat.observe(0);
  mirostat.observe(0);  // 3.0 at last; the logs of powers of two are a rounding away from it
  mirostat.observe(0);  // 3.125
  take_top_k(candidates, logits, 0);
  mirostat.cut(candidates, 5, 1);
  EXPECT_EQ(candidates.size(), 3u);
  for (int i = 0; i < 20; ++i) mirostat.observe(4);  // far below every surprise: the likeliest stays
  take_top_k(candidates, logits, 0);
  mirostat.cut(candidates, 5, 1);
  EXPECT_EQ(ids(candidates), (std::vector<text::TokenId>{0}));
}

TEST(Mirostat, KeepsTheMeanSurpriseAtItsTarget) {
  const std::vector<float> logits = zipf_logits(2000, 1.1);
  double normaliser = 0;
  for (const float logit : logits) normaliser += std::exp(double(logit));
  for (const int version : {1, 2}) {
    for (const float target : {4.0f, 6.0f}) {  // the likeliest token alone has 2.6 bits
      Sampler sampler({.temperature = 1, .mirostat = version, .mirostat_tau = target, .seed = 3});
      double surprise = 0;
      constexpr int kDraws = 3000;
      for (int i = 0; i < kDraws; ++i)
        surprise -= (double(logits[static_cast<std::size_t>(sampler.sample(logits, {}))]) - std::log(normaliser));
      EXPECT_NEAR(surprise / kDraws / std::log(2.0), target, 0.1) << version;
    }
  }
}

std::set<text::TokenId> drawn(const api::SamplingParams& params, const std::vector<float>& logits) {
  Sampler sampler(params);
  std::set<text::TokenId> seen;
  for (int i = 0; i < 3000; ++i) seen.insert(sampler.sample(logits, {}));
  return seen;
}

TEST(Chain, StagesComeInTheDocumentedOrder) {
  const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  const api::SamplingParams plain = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};
  // Of the two that top-k leaves, the first has 4/7: enough for 0.5. Of all four it has not.
  api::SamplingParams params = plain;
  params.top_p = 0.5f;
  EXPECT_EQ(drawn(params, logits).size(), 2u);
  params.top_k = 2;
  EXPECT_EQ(drawn(params, logits).size(), 1u);
  // Cuts look at the model's probabilities, before temperature flattens them.
  params = plain;
  params.min_p = 0.6f;
  params.temperature = 10;
  EXPECT_EQ(drawn(params, logits).size(), 2u);
  // A bias counts before the penalty scales it: 2 / 4 falls behind 0.6, 0.5 / 4 + 1.5 would not.
  params = plain;
  params.temperature = 0;
  params.repeat_penalty = 4;
  params.logit_bias = {{0, 1.5f}};
  EXPECT_EQ(Sampler(params).sample(std::vector<float>{0.5f, 0.6f}, std::vector<text::TokenId>{0}), 1);
  // Mirostat replaces the cuts, after temperature: flat, every token has 2 bits.
  EXPECT_EQ(drawn({.temperature = 1e4f, .top_k = 1, .mirostat = 2, .mirostat_tau = 2}, logits).size(), 4u);
}

TEST(Chain, AForkGoesOnFromTheSamePlace) {
  const std::vector<float> logits = zipf_logits(300, 1);
  for (const int mirostat : {0, 2}) {
    Sampler original({.temperature = 1, .top_k = 0, .mirostat = mirostat, .seed = 9});
    for (int i = 0; i < 10; ++i) original.sample(logits, {});
    Sampler fork = original.fork();
    for (int i = 0; i < 30; ++i) EXPECT_EQ(fork.sample(logits, {}), original.sample(logits, {}));
  }
}

TEST(Chain, ImpossibleSettingsAreRefused) {
  const auto refused = [](auto change) {
    api::SamplingParams params;
    change(params);
    EXPECT_THROW(validate(params, 10), UsageError);
  };
  refused([](auto& p) { p.typical_p = 0; });
  refused([](auto& p) { p.typical_p = 1.1f; });
  refused([](auto& p) { p.presence_penalty = kInfinity; });
  refused([](auto& p) { p.frequency_penalty = std::numeric_limits<float>::quiet_NaN(); });
  refused([](auto& p) { p.mirostat = 3; });
  refused([](auto& p) { p.mirostat_tau = 0; });
  refused([](auto& p) { p.mirostat_eta = -1; });
  refused([](auto& p) { p.logit_bias = {{5, kInfinity}, {4, -1}, {5, -kInfinity}}; });
}

}  // namespace
}  // namespace lathe::engine::sampling
