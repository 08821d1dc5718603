// Drafts change when tokens come, never which: against the same session without a draft, token for token, and under
// sampling against the distribution worked out from the model's logits as well.
#include "engine/speculative.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "engine/session.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

const std::vector<std::string> kPrompts = {"Once upon a time",
                                           "Lily saw a big",
                                           "The dog ran to the park and",
                                           "Tom",
                                           "One day, a bird flew over the trees. It wanted to",
                                           "The cat sat. The cat sat. The cat sat. The"};

class SpeculativeTest : public ::testing::Test {
 protected:
  SpeculativeTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::unique_ptr<Session> open(SessionOptions options = {}) { return runtime_.open(model_, file_.tokenizer, options); }

  // One of each kind: what repeats, early exit, a model that is always right, one that is nearly always wrong.
  std::vector<DraftOptions> drafts() {
    formats::ModelFile other = file_;
    other.weights = {};
    for (const auto& [name, tensor] : file_.weights.all()) {
      std::vector<float> w = tensor.to_floats();
      if (name.ends_with("ffn_down.weight")) {
        for (float& value : w) value = -value;
      }
      other.weights.add(pack(name, codec_named("F32"), tensor.shape, w));
    }
    return {{.kind = DraftKind::kNgram},
            {.kind = DraftKind::kLayers, .layers = 2, .tokens = 3},
            {.kind = DraftKind::kModel, .model = model_, .tokenizer = file_.tokenizer, .tokens = 5},
            {.kind = DraftKind::kModel, .model = runtime_.load(other), .tokenizer = file_.tokenizer, .tokens = 1}};
  }

  static std::vector<text::TokenId> ids(const api::GenerateResult& result) {
    std::vector<text::TokenId> all;
    for (const auto& token : result.tokens) all.push_back(token.id);
    return all;
  }

  static void expect_same(const api::GenerateResult& got, const api::GenerateResult& plain) {
    EXPECT_EQ(ids(got), ids(plain));
    EXPECT_EQ(got.text, plain.text);
    EXPECT_EQ(got.stop_reason, plain.stop_reason);
    for (std::size_t i = 0; i < plain.tokens.size(); ++i) EXPECT_EQ(got.tokens[i].logprob, plain.tokens[i].logprob);
  }

  static std::vector<api::GenerateRequest> requests(const api::SamplingParams& sampling, std::uint32_t tokens = 24) {
    std::vector<api::GenerateRequest> all;
    for (const std::string& prompt : kPrompts) {
      api::GenerateRequest request;
      request.prompt = prompt;
      request.max_tokens = tokens + static_cast<std::uint32_t>(all.size());
      request.logprobs = 1;
      request.sampling = sampling;
      all.push_back(request);
    }
    return all;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

TEST_F(SpeculativeTest, EveryDraftLeavesEveryTextAsItIs) {
  const std::vector<api::SamplingParams> settings = {{.temperature = 0},
                                                     {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 3},
                                                     {.temperature = 0.9f,
                                                      .typical_p = 0.8f,
                                                      .repeat_penalty = 1.2f,
                                                      .presence_penalty = 0.4f,
                                                      .frequency_penalty = 0.2f,
                                                      .seed = 4},
                                                     {.temperature = 1, .mirostat = 1, .mirostat_tau = 3, .seed = 5},
                                                     {.temperature = 1, .mirostat = 2, .mirostat_tau = 3, .seed = 6}};
  for (std::size_t s = 0; s < settings.size(); ++s) {
    const auto all = requests(settings[s]);
    const auto plain = open()->generate_all(all);
    for (const DraftOptions& draft : drafts()) {
      const auto session = open({.max_batch = 3, .chunk = 7, .draft = draft});
      const auto drafted = session->generate_all(all);
      std::uint32_t guessed = 0, accepted = 0;
      for (std::size_t i = 0; i < all.size(); ++i) {
        SCOPED_TRACE(
            fmt::format("settings {}, draft {} {}, prompt {}", s, static_cast<int>(draft.kind), draft.tokens, i));
        expect_same(drafted[i], plain[i]);
        guessed += drafted[i].drafted_tokens;
        accepted += drafted[i].accepted_tokens;
      }
      EXPECT_LE(accepted, guessed);
      if (draft.model == model_) {
        EXPECT_EQ(accepted, guessed) << "the model itself guesses what it will draw";
        EXPECT_GT(accepted, 60u);
      }
    }
  }
}

TEST_F(SpeculativeTest, GoodGuessesSavePasses) {
  const auto request = requests({.temperature = 0}, 60).front();
  const auto plain = open();
  plain->generate(request);
  const auto session = open({.draft = {.kind = DraftKind::kModel, .model = model_, .tokenizer = file_.tokenizer}});
  const auto result = session->generate(request);
  EXPECT_EQ(result.tokens.size(), 60u);
  EXPECT_EQ(plain->stats().forward_passes, 60u);        // the prompt's pass yields the first token
  EXPECT_EQ(session->stats().forward_passes, 1 + 12u);  // then five at a time, the last four only
}

TEST_F(SpeculativeTest, SampledTokensFollowTheModelsDistribution) {
  // Exact probabilities of the first three tokens after the prompt, two candidates each.
  const api::SamplingParams two = {.temperature = 1.5f, .top_k = 2, .top_p = 1, .min_p = 0};
  // The draft is the model with every weight a little off.
  formats::ModelFile near = file_;
  near.weights = {};
  for (const auto& [name, tensor] : file_.weights.all()) {
    std::vector<float> w = tensor.to_floats();
    for (std::size_t i = 0; i < w.size(); ++i) w[i] *= 1 + 0.3f * std::sin(static_cast<float>(i));
    near.weights.add(pack(name, codec_named("F32"), tensor.shape, w));
  }
  const auto session =
      open({.draft = {.kind = DraftKind::kModel, .model = runtime_.load(near), .tokenizer = file_.tokenizer}});
  const std::vector<text::TokenId> prompt = session->tokenizer().encode("Once upon a time");
  std::map<std::vector<text::TokenId>, double> expected = {{{}, 1}};
  for (int step = 0; step < 3; ++step) {
    std::map<std::vector<text::TokenId>, double> longer;
    for (const auto& entry : expected) {
      const std::vector<text::TokenId>& tail = entry.first;
      const double p = entry.second;
      std::vector<text::TokenId> text = prompt;
      text.insert(text.end(), tail.begin(), tail.end());
      session->logits(text, text.size() - 1, [&](std::size_t, std::span<const float> logits) {
        const auto first = std::max_element(logits.begin(), logits.end());
        std::vector<float> others(logits.begin(), logits.end());
        others[static_cast<std::size_t>(first - logits.begin())] = -INFINITY;
        const auto second = std::max_element(others.begin(), others.end());
        const double share = 1 / (1 + std::exp((double(*second) - *first) / 1.5));
        auto next = tail;
        next.push_back(static_cast<text::TokenId>(first - logits.begin()));
        longer[next] += p * share;
        next.back() = static_cast<text::TokenId>(second - others.begin());
        longer[next] += p * (1 - share);
      });
    }
    expected = longer;
  }
  ASSERT_EQ(expected.size(), 8u);
  std::map<std::vector<text::TokenId>, int> counts;
  constexpr int kRuns = 2000;
  std::uint32_t guessed = 0, accepted = 0;
  for (int run = 0; run < kRuns; run += 500) {
    std::vector<api::GenerateRequest> all(500);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].prompt_ids = prompt;
      all[i].max_tokens = 3;
      all[i].ignore_eos = true;
      all[i].sampling = two;
      all[i].sampling.seed = static_cast<std::uint64_t>(run) + i;
    }
    for (const auto& result : session->generate_all(all)) {
      ++counts[ids(result)];
      guessed += result.drafted_tokens;
      accepted += result.accepted_tokens;
    }
  }
  double statistic = 0;
  for (const auto& [tail, p] : expected)
    statistic += (counts[tail] - p * kRuns) * (counts[tail] - p * kRuns) / (p * kRuns);
  EXPECT_EQ(counts.size(), 8u);
  EXPECT_LT(statistic, 24.32);  // 99.9 % of chi-square with 7 degrees of freedom
  EXPECT_GT(accepted, guessed / 4) << "guesses took part";
  EXPECT_LT(accepted, guessed - guessed / 20) << "and some were wrong";
}

TEST_F(SpeculativeTest, StopStringsGrammarsFullContextsAndShortAnswersEndWhereTheyWould) {
  auto all = requests({.temperature = 0.7f, .seed = 8}, 30);
  all[0].stop = {"girl", "boy"};
  all[0].sampling.temperature = 0;
  all[1].json_schema =
      R"({"type":"object","properties":{"name":{"type":"string","maxLength":9},"age":{"type":"integer"}},)"
      R"("required":["name","age"]})";
  all[2].grammar = R"(root ::= (" " [a-z]+ ", ")* [a-z]+ ".")";
  all[3].max_tokens = 200;
  all[3].ignore_eos = true;
  all[4].max_tokens = 1;
  all[5].max_tokens = 2;
  const auto plain = open({.context = 60})->generate_all(all);
  EXPECT_EQ(plain[0].stop_reason, api::StopReason::kStopString);
  EXPECT_EQ(plain[3].stop_reason, api::StopReason::kContextFull);
  for (const DraftOptions& draft : drafts()) {
    const auto drafted = open({.context = 60, .draft = draft})->generate_all(all);
    for (std::size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(fmt::format("draft {} {}, request {}", static_cast<int>(draft.kind), draft.tokens, i));
      expect_same(drafted[i], plain[i]);
    }
    if (draft.model == model_) {
      EXPECT_EQ(drafted[1].accepted_tokens, drafted[1].drafted_tokens) << "it knows the grammar";
    }
  }
}

TEST_F(SpeculativeTest, UnderMemoryPressureAndOtherPoliciesNothingChanges) {
  const auto all = requests({.temperature = 0}, 120);
  const kernels::KvLayout layout{kernels::KvCodec::kF16, file_.architecture.n_kv_heads, file_.architecture.head_dim,
                                 file_.architecture.v_head_dim, 32};
  const std::uint64_t block = runtime_.backend().kv_block_bytes(layout) * file_.architecture.n_layers;
  Runtime tight({.cpu = {.threads = 2}, .kv_bytes = 9 * block});
  const auto model = tight.load(file_);
  const DraftOptions draft = {.kind = DraftKind::kLayers, .layers = 3};
  const auto squeezed = tight.open(model, file_.tokenizer, {.max_batch = 5, .draft = draft})->generate_all(all);
  const auto plain = open()->generate_all(all);
  for (std::size_t i = 0; i < all.size(); ++i) expect_same(squeezed[i], plain[i]);
  for (const auto codec : {kernels::KvCodec::kF16, kernels::KvCodec::kI8}) {
    const SessionOptions sinks = {.kv_codec = codec, .kv_policy = "sinks:2+40"};
    SessionOptions drafted = sinks;
    drafted.draft = draft;
    const auto a = open(sinks)->generate_all(all), b = open(drafted)->generate_all(all);
    for (std::size_t i = 0; i < all.size(); ++i) expect_same(b[i], a[i]);
  }
}

TEST_F(SpeculativeTest, OnEveryCodecAGuessIsCheckedByTheSameBytes) {
  arch::Architecture shape = test::tiny_llama();
  shape.width = 256, shape.ffn_width = 512;  // whole blocks of every codec
  shape.head_dim = shape.v_head_dim = shape.rotary_dim = 64;
  for (const Codec* codec : all_codecs()) {
    formats::ModelFile file;
    test::TinyModel tiny;
    try {
      tiny = test::make_tiny_model(shape, codec->name(), 5);
    } catch (const Error&) {
      continue;  // a codec that only files write
    }
    file.architecture = tiny.architecture;
    file.weights = tiny.weights;
    const auto model = runtime_.load(file);
    api::GenerateRequest request;
    request.prompt_ids = test::random_ids(20, shape.vocab_size, 3);
    request.max_tokens = 30;
    request.logprobs = 1;
    for (const float temperature : {0.0f, 1.0f}) {
      request.sampling.temperature = temperature;
      const auto plain = runtime_.open(model, nullptr)->generate(request);
      for (const DraftOptions& draft : {DraftOptions{.kind = DraftKind::kLayers, .layers = 1},
                                        DraftOptions{.kind = DraftKind::kModel, .model = model}}) {
        SCOPED_TRACE(fmt::format("{} at {}, draft {}", codec->name(), temperature, static_cast<int>(draft.kind)));
        const auto drafted = runtime_.open(model, nullptr, {.draft = draft})->generate(request);
        expect_same(drafted, plain);
        EXPECT_GT(drafted.drafted_tokens, 0u);
        if (draft.model != nullptr) {
          EXPECT_EQ(drafted.accepted_tokens, drafted.drafted_tokens);
        }
      }
    }
  }
}

TEST_F(SpeculativeTest, ADraftThatCannotGuessIsRefused) {
  const auto refused = [&](const DraftOptions& draft, const std::string& reason) {
    try {
      open({.draft = draft});
      ADD_FAILURE() << reason;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  };
  refused({.kind = DraftKind::kLayers, .layers = 5}, "5 layers");
  refused({.kind = DraftKind::kLayers}, "0 layers");
  refused({.kind = DraftKind::kNgram, .tokens = 0}, "draft tokens");
  refused({.kind = DraftKind::kNgram, .tokens = 1000}, "draft tokens");
  const test::TinyModel tiny = test::make_tiny_model(test::tiny_llama());
  formats::ModelFile other;
  other.architecture = tiny.architecture;
  other.weights = tiny.weights;
  refused({.kind = DraftKind::kModel, .model = runtime_.load(other)}, "another vocabulary");
}

}  // namespace
}  // namespace lathe::engine
