// Encoder-decoder models end to end: what is generated is what the logits say, alone, in company, by beams and after
// preemption; the cache comes back; and a trained model transliterates names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/families.h"
#include "base/error.h"
#include "engine/session.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

using Ids = std::vector<text::TokenId>;

formats::ModelFile tiny(const char* family, const char* codec = "F32") {
  arch::Architecture a = arch::small_shape(arch::family_named(family, "test"));
  a.vocab_size = 300;
  if (a.encoder.vocab_size > 0) a.encoder.vocab_size = 300;
  a.context_length = 128;
  const test::TinyModel model = test::make_tiny_model(a, codec, 5);
  formats::ModelFile file;
  file.architecture = model.architecture;
  file.weights = model.weights;
  return file;
}

api::GenerateRequest request_for(Ids source, std::uint32_t tokens = 12) {
  api::GenerateRequest request;
  request.prompt_ids = std::move(source);
  request.max_tokens = tokens;
  request.sampling.temperature = 0;
  return request;
}

Ids ids(const api::GenerateResult& result) {
  Ids all;
  for (const auto& token : result.tokens) all.push_back(token.id);
  return all;
}

std::uint64_t blocks(Session& session) {
  session.step();
  return session.stats().kv_blocks_in_use;
}

class Translators : public testing::TestWithParam<const char*> {
 protected:
  formats::ModelFile file_ = tiny(GetParam());
  Runtime runtime_{{.cpu = {.threads = 2}}};
  std::shared_ptr<model::Model> model_ = runtime_.load(file_);
};

TEST_P(Translators, GenerateTheLikeliestToken) {
  const auto session = runtime_.open(model_, nullptr);
  const Ids source = test::random_ids(17, 300, 3);
  const api::GenerateResult result = session->generate(request_for(source));
  EXPECT_EQ(result.prompt_ids, source);
  ASSERT_EQ(result.tokens.size(), 12u);
  Ids target;
  session->target_logits(source, ids(result), 0, [&](std::size_t, std::span<const float> row) {
    target.push_back(static_cast<text::TokenId>(std::max_element(row.begin(), row.end()) - row.begin()));
  });
  target.pop_back();  // what would have come next
  EXPECT_EQ(ids(result), target);
  EXPECT_EQ(blocks(*session), 0u);
}

TEST_P(Translators, TextsDoNotDependOnTheirCompany) {
  const auto alone = runtime_.open(model_, nullptr, {.max_batch = 1});
  const auto together = runtime_.open(model_, nullptr, {.max_batch = 5, .chunk = 7});
  std::vector<api::GenerateRequest> requests;
  for (std::uint64_t i = 0; i < 9; ++i)
    requests.push_back(request_for(test::random_ids(5 + 13 * (i % 4), 300, 20 + i % 6), 4 + 3 * (i % 3)));
  const auto results = together->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(ids(results[i]), ids(alone->generate(requests[i]))) << i;
  EXPECT_EQ(blocks(*together), 0u);
}

// Room for two of the four at a time: some are thrown out half-way and read their sources again.
TEST_P(Translators, TextsDoNotDependOnPreemption) {
  const auto roomy = runtime_.open(model_, nullptr, {.max_batch = 4});
  const std::uint64_t block = roomy->stats().kv_bytes_budget / roomy->stats().kv_blocks_total;
  const auto narrow = runtime_.open(model_, nullptr, {.max_batch = 4, .kv_bytes = 7 * block});
  std::vector<api::GenerateRequest> requests;
  for (std::uint64_t i = 0; i < 4; ++i) requests.push_back(request_for(test::random_ids(30, 300, 40 + i), 60));
  const auto expected = roomy->generate_all(requests), results = narrow->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(ids(results[i]), ids(expected[i])) << i;
  EXPECT_GT(narrow->stats().preemptions, 0u);
  EXPECT_EQ(blocks(*narrow), 0u);
  // One that fits in no case.
  const auto none = runtime_.open(model_, nullptr, {.max_batch = 1, .kv_bytes = 2 * block});
  EXPECT_THROW(none->generate(request_for(test::random_ids(90, 300, 1))), Error);
  EXPECT_EQ(blocks(*none), 0u);
}

TEST_P(Translators, EqualSourcesAreReadOnce) {
  const auto session = runtime_.open(model_, nullptr, {.max_batch = 4});
  const Ids source = test::random_ids(40, 300, 9);
  session->generate_all(std::vector<api::GenerateRequest>(4, request_for(source)));
  // The start token of each, and the source once.
  EXPECT_EQ(session->stats().prefill_tokens, source.size() + 4);
}

// The best of all texts of two tokens, tried one by one.
TEST_P(Translators, BeamsFindTheLikeliestText) {
  const auto session = runtime_.open(model_, nullptr, {.max_batch = 304});
  const Ids source = test::random_ids(21, 300, 12);
  const auto logprobs = [&](const Ids& target) {
    std::vector<double> result;
    session->target_logits(source, target, target.size(), [&](std::size_t, std::span<const float> row) {
      double sum = 0;
      for (const float logit : row) sum += std::exp(double{logit});
      for (const float logit : row) result.push_back(logit - std::log(sum));
    });
    return result;
  };
  const auto first = logprobs({});
  double best = -1e30;
  Ids text;
  for (text::TokenId a = 0; a < 300; ++a) {
    if (first[static_cast<std::size_t>(a)] < best) continue;
    const auto second = logprobs({a});
    const auto top = std::max_element(second.begin(), second.end());
    if (first[static_cast<std::size_t>(a)] + *top <= best) continue;
    best = first[static_cast<std::size_t>(a)] + *top;
    text = {a, static_cast<text::TokenId>(top - second.begin())};
  }
  const auto found = session->beam_search(request_for(source, 2), {.beams = 300, .results = 1, .length_penalty = 0});
  EXPECT_EQ(ids(found.front().result), text);
  EXPECT_NEAR(found.front().logprob, best, 1e-4);
  EXPECT_EQ(found.front().result.prompt_ids, source);
  EXPECT_EQ(blocks(*session), 0u);
}

TEST_P(Translators, RefuseWhatTheyCannotDo) {
  const auto session = runtime_.open(model_, nullptr);
  const auto message = [](const auto& action) {
    try {
      action();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message([&] {
              session->logits(Ids{1, 2}, 0, [](std::size_t, std::span<const float>) {});
            }).find("source"),
            std::string::npos);
  EXPECT_NE(message([&] { session->generate(request_for({})); }), "");
  EXPECT_NE(message([&] { session->generate(request_for({1, 300})); }).find("outside"), std::string::npos);
  EXPECT_NE(message([&] { session->generate(request_for(Ids(500, 1))); }).find("source text has 500"),
            std::string::npos);
  EXPECT_NE(message([&] {
              session->target_logits(Ids{1}, Ids{300}, 0, [](std::size_t, std::span<const float>) {});
            }).find("outside"),
            std::string::npos);
  EXPECT_THROW(runtime_.open(model_, nullptr, {.draft = {.kind = DraftKind::kLayers, .layers = 1}}), UsageError);
  EXPECT_EQ(blocks(*session), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Translators, testing::Values("t5", "flan-t5", "transformer"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// --- a trained model: Arabic names in Latin letters ---

constexpr const char* kModels[] = {"models/aren-transliteration/f32/model.bin",
                                   "models/aren-transliteration/i16/model.bin"};

// What CTranslate2's own tests expect of these files: tests/translator_test.cc, ModelVariantTest and others.
constexpr std::pair<const char*, const char*> kNames[] = {{"آ ت ز م و ن", "atzmon"}, {"آتزمون", "atzmon"}};

TEST(Transliteration, OfAName) {
  for (const char* path : kModels) {
    LATHE_NEED_SHARED(path);
    const formats::ModelFile file = formats::load_model(test::shared(path));
    Runtime runtime({.cpu = {.threads = 1}});
    const auto session = runtime.open(runtime.load(file), file.tokenizer);
    for (const auto& [arabic, latin] : kNames) {
      api::GenerateRequest request;
      request.prompt = arabic;
      request.sampling.temperature = 0;
      const api::GenerateResult result = session->generate(request);
      EXPECT_EQ(result.text, latin) << path;
      EXPECT_EQ(result.stop_reason, api::StopReason::kEos);
      const auto beams = session->beam_search(request, {.beams = 4, .results = 4});
      EXPECT_EQ(beams.front().result.text, latin) << path;
      // A text's score is the sum of its letters', its end included, whichever way it is worked out.
      double sum = 0;
      for (const api::TokenScore& letter : session->score(arabic, latin)) sum += letter.logprob;
      EXPECT_NEAR(beams.front().logprob, sum, 1e-3);
    }
  }
}

TEST(Transliteration, AgreesWithThePlainPass) {
  for (const char* path : kModels) {
    LATHE_NEED_SHARED(path);
    const formats::ModelFile file = formats::load_model(test::shared(path));
    test::Executor executor(file.architecture, file.weights, test::cpu());
    const Ids source = file.tokenizer->encode(kNames[0].first),
              word = file.tokenizer->target().encode(kNames[0].second);
    ASSERT_EQ(source.size(), 6u);
    ASSERT_EQ(word.size(), 7u) << "six letters and the end";
    Ids target = {1};
    target.insert(target.end(), word.begin(), word.end());
    const auto expected =
        test::reference_translation(file.architecture, test::decode(file.weights), source, target).logits;
    const auto encoded = executor.encode({source});
    const auto state = executor.sequence();
    EXPECT_LT(test::relative_error(executor.logits(*state, target, 64, {}, encoded.front().get()), expected), 5e-5);
  }
}

}  // namespace
}  // namespace lathe::engine
