// Beam search: wide enough, it finds what trying every text finds; narrow, what a beam search without any cache finds.
#include "engine/beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/program_run.h"
#include "engine/session.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

using Ids = std::vector<text::TokenId>;

Ids ids(const api::GenerateResult& result) {
  Ids all;
  for (const auto& token : result.tokens) all.push_back(token.id);
  return all;
}

// log softmax of what follows `text`, from a pass of its own.
std::vector<double> next_logprobs(Session& session, const Ids& text) {
  std::vector<double> result;
  session.logits(text, text.size() - 1, [&](std::size_t, std::span<const float> logits) {
    long double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<long double>(logit));
    for (const float logit : logits) result.push_back(static_cast<double>(logit - std::log(sum)));
  });
  return result;
}

struct Scored {
  Ids ids;
  double logprob, score;
};

void sort_by_score(std::vector<Scored>& all) {
  std::sort(all.begin(), all.end(), [](const Scored& a, const Scored& b) { return a.score > b.score; });
}

double formula(double logprob, std::size_t length, double alpha) {
  return logprob * std::pow(6.0, alpha) / std::pow(5.0 + double(length), alpha);
}

TEST(BeamSearch, WideEnoughItFindsWhatTryingEveryTextFinds) {
  arch::Architecture shape = test::tiny_llama();
  shape.vocab_size = 6;
  const test::TinyModel tiny = test::make_tiny_model(shape, "F32", 3);
  formats::ModelFile file;
  file.architecture = tiny.architecture;
  file.weights = tiny.weights;
  Runtime runtime({.cpu = {.threads = 1}});
  const auto session = runtime.open(runtime.load(file), nullptr, {.max_batch = 64});
  const Ids prompt = {1, 4, 2};
  std::vector<Scored> every = {{{}, 0, 0}};
  for (int length = 0; length < 4; ++length) {
    std::vector<Scored> longer;
    for (const Scored& one : every) {
      Ids text = prompt;
      text.insert(text.end(), one.ids.begin(), one.ids.end());
      const auto next = next_logprobs(*session, text);
      for (text::TokenId id = 0; id < 6; ++id) {
        longer.push_back(one);
        longer.back().ids.push_back(id);
        longer.back().logprob += next[static_cast<std::size_t>(id)];
        longer.back().score = formula(longer.back().logprob, 4, 0.6);
      }
    }
    every = longer;
  }
  ASSERT_EQ(every.size(), 1296u);
  sort_by_score(every);
  api::GenerateRequest request;
  request.prompt_ids = prompt;
  request.max_tokens = 4;
  const auto found = session->beam_search(request, {.beams = 216, .results = 50});
  ASSERT_EQ(found.size(), 50u);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(ids(found[i].result), every[i].ids) << i;
    EXPECT_NEAR(found[i].logprob, every[i].logprob, 1e-4);
    EXPECT_NEAR(found[i].score, every[i].score, 1e-4);
    double sum = 0;
    for (const auto& token : found[i].result.tokens) sum += token.logprob;
    EXPECT_NEAR(sum, found[i].logprob, 1e-5);
  }
}

class BeamSearchTest : public ::testing::Test {
 protected:
  BeamSearchTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::unique_ptr<Session> open(SessionOptions options = {}) { return runtime_.open(model_, file_.tokenizer, options); }
  static api::GenerateRequest request(std::string prompt, std::uint32_t tokens) {
    api::GenerateRequest r;
    r.prompt = std::move(prompt);
    r.max_tokens = tokens;
    return r;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

TEST_F(BeamSearchTest, NarrowItFindsWhatABeamSearchWithoutCacheFinds) {
  for (const std::uint32_t beams : {1u, 4u}) {
    const auto session = open({.chunk = 5});
    const Ids prompt = session->tokenizer().encode("Lily saw a big");
    std::vector<Scored> live = {{{}, 0, 0}};
    constexpr std::size_t kTokens = 32;  // across a border of blocks
    for (std::size_t length = 1; length <= kTokens; ++length) {
      std::vector<Scored> longer;
      for (const Scored& one : live) {
        Ids text = prompt;
        text.insert(text.end(), one.ids.begin(), one.ids.end());
        const auto next = next_logprobs(*session, text);
        for (std::size_t id = 0; id < next.size(); ++id) {
          longer.push_back({one.ids, one.logprob + next[id], one.logprob + next[id]});
          longer.back().ids.push_back(static_cast<text::TokenId>(id));
        }
      }
      sort_by_score(longer);
      longer.resize(beams);
      live = longer;
    }
    auto r = request("", kTokens);
    r.prompt_ids = prompt;
    r.ignore_eos = true;
    const auto found = session->beam_search(r, {.beams = beams, .results = beams, .length_penalty = 0});
    ASSERT_EQ(found.size(), beams);
    for (std::size_t i = 0; i < beams; ++i) {
      EXPECT_EQ(ids(found[i].result), live[i].ids) << beams << " " << i;
      EXPECT_NEAR(found[i].logprob, live[i].logprob, 1e-3);
    }
    EXPECT_EQ(session->stats().kv_bytes_in_use, 0u) << "every block was given back";
  }
}

TEST_F(BeamSearchTest, OneBeamIsGreedy) {
  auto r = request("Once upon a time", 60);
  r.sampling.temperature = 0;
  const auto session = open();
  const auto greedy = session->generate(r);
  const auto found = session->beam_search(r, {.beams = 1});
  EXPECT_EQ(ids(found.front().result), ids(greedy));
  EXPECT_EQ(found.front().result.text, greedy.text);
}

// Texts of different lengths that end by an end token: every sentence of a small grammar, in every way to cut it into
// tokens.
TEST_F(BeamSearchTest, UnderAGrammarItFindsTheBestSentence) {
  const std::string grammar = "root ::= [abt]{1,3}";
  const auto session = open();
  const text::Tokenizer& tokenizer = session->tokenizer();
  const Ids prompt = tokenizer.encode("The");
  for (const float alpha : {-0.5f, 0.0f, 1.0f, 2.0f}) {
    std::vector<Scored> every, open_ends = {{{}, 0, 0}};
    while (!open_ends.empty()) {
      const Scored one = open_ends.back();
      open_ends.pop_back();
      std::string spelled;
      for (const text::TokenId id : one.ids) spelled += tokenizer.token_bytes(id);
      Ids text = prompt;
      text.insert(text.end(), one.ids.begin(), one.ids.end());
      const auto next = next_logprobs(*session, text);
      for (std::size_t i = 0; i < next.size(); ++i) {
        const auto id = static_cast<text::TokenId>(i);
        const std::string piece(tokenizer.token_bytes(id));
        if (id == tokenizer.special().eos) {
          const double logprob = one.logprob + next[i];
          if (!spelled.empty() && spelled.size() < 3)
            every.push_back({one.ids, logprob, formula(logprob, one.ids.size() + 1, alpha)});
        } else if (!piece.empty() && piece.find_first_not_of("abt") == std::string::npos && id > 2 &&
                   spelled.size() + piece.size() <= 3) {
          Scored longer = {one.ids, one.logprob + next[i], 0};
          longer.ids.push_back(id);
          // Nothing can follow three letters: such a text ends without an end token.
          longer.score = formula(longer.logprob, longer.ids.size(), alpha);
          (spelled.size() + piece.size() == 3 ? every : open_ends).push_back(longer);
        }
      }
    }
    ASSERT_GT(every.size(), 30u);
    sort_by_score(every);
    auto r = request("The", 20);
    r.grammar = grammar;
    const auto found = session->beam_search(r, {.beams = 200, .results = 10, .length_penalty = alpha});
    ASSERT_EQ(found.size(), 10u);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(ids(found[i].result), every[i].ids) << alpha << " " << i;
      EXPECT_NEAR(found[i].score, every[i].score, 1e-4) << alpha << " " << i;
    }
  }
}

TEST_F(BeamSearchTest, StopStringsContextsAndCancellationEndIt) {
  auto r = request("Once upon a time", 50);
  r.stop = {"girl"};
  const auto session = open({.context = 30});
  for (const auto& one : session->beam_search(r, {.beams = 4, .results = 4})) {
    EXPECT_EQ(one.result.text.find("girl"), std::string::npos);
  }
  r.stop.clear();
  r.ignore_eos = true;
  const auto full = session->beam_search(r, {.beams = 3});
  EXPECT_EQ(full.front().result.stop_reason, api::StopReason::kContextFull);
  EXPECT_EQ(full.front().result.prompt_ids.size() + full.front().result.tokens.size(), 30u);
  CancelToken token;
  session->set_cancel_token(&token);
  const auto cancelled = session->beam_search(r, {.beams = 3}, [&](std::uint32_t tokens) {
    if (tokens == 5) token.cancel();
    return true;
  });
  EXPECT_EQ(cancelled.front().result.stop_reason, api::StopReason::kCancelled);
  EXPECT_EQ(cancelled.front().result.tokens.size(), 5u);
  session->set_cancel_token(nullptr);
  const auto refused = session->beam_search(r, {.beams = 3}, [](std::uint32_t tokens) { return tokens < 4; });
  EXPECT_EQ(refused.front().result.stop_reason, api::StopReason::kCancelled);
  EXPECT_EQ(refused.front().result.tokens.size(), 4u);
  EXPECT_EQ(session->stats().kv_blocks_in_use, session->stats().kv_blocks_cached);
}

// A call that would fit alone, but not beside the beams, waits for them.
TEST_F(BeamSearchTest, WhatIsGeneratedBesideItWaitsForBlocks) {
  Runtime tight({.cpu = {.threads = 1}, .kv_bytes = 100'000});
  const auto session = tight.open(tight.load(file_), file_.tokenizer, {.context = 96, .prefix_cache = false});
  ASSERT_EQ(session->stats().kv_blocks_total, 3u);
  auto call = request("Tom", 55);
  call.ignore_eos = true;
  const std::string alone = session->generate(call).text;
  Program program;
  Node node;
  node.prompt.emplace_back(call.prompt);
  node.output = program.add_variable("text");
  node.request = call;
  program.add_node(std::move(node));
  bool over = false;
  std::exception_ptr error;
  std::string text;
  ProgramEvents events;
  events.on_text = [&](NodeId, const Piece& piece) {
    text += piece.text;
    return true;
  };
  events.on_finished = [&](std::exception_ptr why) {
    over = true;
    error = std::move(why);
  };
  std::shared_ptr<ProgramRun> run;
  const auto found = session->beam_search(call, {.beams = 1}, [&](std::uint32_t tokens) {
    if (tokens == 40) {  // in two blocks
      run = session->start(std::move(program), std::move(events));
      for (int i = 0; i < 50; ++i) session->step();
      EXPECT_FALSE(over);
      EXPECT_EQ(session->stats().preemptions, 1u);
    }
    return true;
  });
  EXPECT_EQ(found.front().result.tokens.size(), 55u);
  while (!over) ASSERT_TRUE(session->step());
  EXPECT_EQ(error, nullptr);
  EXPECT_EQ(text, alone);
}

TEST_F(BeamSearchTest, WhatCannotBeIsRefused) {
  const auto session = open({.context = 64});
  EXPECT_THROW(session->beam_search(request("Tom", 5), {.beams = 0}), UsageError);
  EXPECT_THROW(session->beam_search(request("Tom", 5), {.beams = 2, .results = 3}), UsageError);
  EXPECT_THROW(session->beam_search(request("Tom", 5), {.length_penalty = NAN}), UsageError);
  Runtime tight({.cpu = {.threads = 1}, .kv_bytes = 60'000});
  const auto small = tight.open(tight.load(file_), file_.tokenizer, {.prefix_cache = false});  // one block
  EXPECT_THROW(small->beam_search(request("Tom", 40), {.beams = 4}), Error);
  EXPECT_EQ(small->stats().kv_bytes_in_use, 0u);
}

}  // namespace
}  // namespace lathe::engine
