// Programs started from any thread and stepped by the engine's own: events, cancellation, the bound on the queue, order
// and fairness, prompts read once, and that every KV block comes back.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "engine/engine_thread.h"
#include "engine/program_run.h"
#include "engine/session.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

using namespace std::chrono_literals;

class StartTest : public ::testing::Test {
 protected:
  StartTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  Session& open(SessionOptions options = {}) {
    session_ = runtime_.open(model_, file_.tokenizer, options);
    return *session_;
  }
  void TearDown() override {
    if (session_ == nullptr) return;
    const SessionStats stats = session_->stats();
    EXPECT_EQ(stats.running + stats.waiting, 0u);
    EXPECT_EQ(stats.kv_blocks_in_use, stats.kv_blocks_cached) << "blocks that nobody returned";
  }

  static api::GenerateRequest greedy(std::string prompt, std::uint32_t tokens) {
    api::GenerateRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = tokens;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    return request;
  }

  static Program one_node(const api::GenerateRequest& request) {
    Program program;
    Node node;
    node.prompt.emplace_back(request.prompt);
    node.output = program.add_variable("answer");
    node.request = request;
    program.add_node(std::move(node));
    return program;
  }

  // Starts one call; the future holds its result, or the error.
  struct Started {
    std::shared_ptr<ProgramRun> run;
    std::future<api::GenerateResult> result;
  };
  static Started start(Session& session, const api::GenerateRequest& request, StartOptions options = {}) {
    auto promise = std::make_shared<std::promise<api::GenerateResult>>();
    auto run = std::make_shared<std::weak_ptr<ProgramRun>>();
    auto result = std::make_shared<api::GenerateResult>();
    Started started{nullptr, promise->get_future()};
    auto texts = std::make_shared<std::string>();
    ProgramEvents events;
    events.on_text = [texts, result](NodeId, const Piece& piece) {
      *texts += piece.text;
      result->tokens.insert(result->tokens.end(), piece.tokens.begin(), piece.tokens.end());
      return true;
    };
    events.on_finished = [promise, texts, result](std::exception_ptr error) {
      if (error) return promise->set_exception(error);
      result->text = *texts;
      promise->set_value(*result);
    };
    started.run = session.start(one_node(request), std::move(events), std::move(options));
    return started;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
  std::unique_ptr<Session> session_;
};

TEST_F(StartTest, WhatIsStartedGivesWhatRunGives) {
  Session& session = open({.max_batch = 4});
  const auto expected = session.generate(greedy("Once upon a time", 40));
  const EngineThread engine(session);
  std::vector<Started> all;
  for (int i = 0; i < 6; ++i) all.push_back(start(session, greedy("Once upon a time", 40)));
  for (auto& one : all) {
    const api::GenerateResult result = one.result.get();
    EXPECT_EQ(result.text, expected.text);
    EXPECT_EQ(result.tokens.size(), expected.tokens.size());
  }
}

TEST_F(StartTest, SynchronousCallsAndTheEngineThreadShareTheBatch) {
  Session& session = open({.max_batch = 4});
  const auto expected = session.generate(greedy("Lily saw", 60));
  const EngineThread engine(session);
  auto started = start(session, greedy("Lily saw", 60));
  EXPECT_EQ(session.generate(greedy("Lily saw", 60)).text, expected.text);
  EXPECT_EQ(session.embed(std::vector<std::string>{"a text"}).size(), 1u);
  EXPECT_EQ(started.result.get().text, expected.text);
}

TEST_F(StartTest, CancellingFreesTheBlocksAndLeavesOthersAlone) {
  Session& session = open({.context = 512, .max_batch = 2, .prefix_cache = false});
  const auto expected = session.generate(greedy("Tom", 30));
  std::promise<void> begun;
  std::atomic<bool> said{false};
  ProgramEvents events;
  events.on_text = [&](NodeId, const Piece&) {
    if (!said.exchange(true)) begun.set_value();
    return true;
  };
  std::promise<std::exception_ptr> end;
  events.on_finished = [&](std::exception_ptr error) { end.set_value(error); };
  const EngineThread engine(session);
  const auto endless = session.start(one_node(greedy("Once", 500)), std::move(events));
  auto other = start(session, greedy("Tom", 30));
  begun.get_future().wait();
  endless->cancel();
  EXPECT_EQ(end.get_future().get(), nullptr);
  EXPECT_LE(endless->program.nodes[0].result->tokens.size(), 500u);
  EXPECT_EQ(other.result.get().text, expected.text);
  for (int i = 0; i < 200 && session.stats().running > 0; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(session.stats().kv_blocks_in_use, 0u);
}

TEST_F(StartTest, CancelledBeforeItBeginsItNeverRuns) {
  Session& session = open();
  auto started = start(session, greedy("Once", 50));
  started.run->cancel();
  while (session.step()) {
  }
  EXPECT_THROW(started.result.get(), Cancelled);
  EXPECT_EQ(session.stats().forward_passes, 0u);
}

TEST_F(StartTest, MoreThanMayWaitIsRefusedAndRoomComesBack) {
  Session& session = open({.max_batch = 1, .max_waiting = 2});
  std::vector<Started> all;
  for (int i = 0; i < 3; ++i) all.push_back(start(session, greedy("Once", 3)));
  EXPECT_THROW(start(session, greedy("Once", 3)), Overloaded);
  while (session.step()) {
  }
  for (auto& one : all) EXPECT_EQ(one.result.get().tokens.size(), 3u);
  EXPECT_EQ((all.push_back(start(session, greedy("Once", 3))), all.size()), 4u);
  while (session.step()) {
  }
}

TEST_F(StartTest, ErrorsOfAProgramAreKnownAtOnceOrArriveAsAnEvent) {
  Session& session = open({.context = 64});
  auto bad = greedy("Once", 3);
  bad.json_schema = "{";
  EXPECT_THROW(start(session, bad), Error);
  auto none = greedy("Once", 3);
  none.adapters = {"none"};
  EXPECT_THROW(start(session, none), Error);
  auto longer = greedy("Once", 3);
  longer.prompt_ids.assign(70, 5);
  auto started = start(session, longer);
  while (session.step()) {
  }
  EXPECT_THROW(started.result.get(), Error);
  EXPECT_EQ(start(session, greedy("Once", 1)).run->finished(), false);
  while (session.step()) {
  }
}

// The order in which calls finish when one runs at a time.
TEST_F(StartTest, PriorityThenTheClientsShareThenArrivalDecide) {
  Session& session = open({.max_batch = 1, .prefix_cache = false});
  std::string order;
  const auto add = [&](char name, const std::string& client, int priority) {
    ProgramEvents events;
    events.on_finished = [&order, name](std::exception_ptr) { order += name; };
    session.start(one_node(greedy("Once upon a time", 4)), std::move(events), {client, priority});
  };
  for (const char name : {'a', 'b', 'c', 'd'}) add(name, "busy", 0);
  add('x', "other", 0);
  add('y', "other", 0);
  add('P', "busy", 1);
  while (session.step()) {
  }
  // P by priority; then "other" has had nothing, and the two take turns.
  EXPECT_EQ(order, "Pxaybcd");
}

TEST_F(StartTest, APromptThatSeveralShareIsReadOnce) {
  const std::string prompt =
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
      "big, red ball. Lily asked her mom if she could play with the ball.";
  Session& session = open({.max_batch = 8, .chunk = 16});
  const auto tokens = file_.tokenizer->encode(prompt).size();
  std::vector<Started> all;
  for (int i = 0; i < 6; ++i) all.push_back(start(session, greedy(prompt, 12)));
  while (session.step()) {
  }
  const auto first = all[0].result.get();
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_EQ(all[i].result.get().text, first.text);
  const std::size_t rest = tokens - (tokens - 1) / 32 * 32;  // behind the last whole block
  EXPECT_EQ(session.stats().prefill_tokens, tokens + 5 * rest);
  Session& alone = open({.prefix_cache = false});
  EXPECT_EQ(alone.generate(greedy(prompt, 12)).text, first.text);
}

// A prompt of several chunks joins while another call decodes: between two of the latter's tokens lies one pass.
TEST_F(StartTest, WhileACallForLatencyRunsOthersTakeNoMoreThanItBears) {
  Session& session = open({.context = 512, .max_batch = 8, .chunk = 64, .latency_batch = 2, .prefix_cache = false});
  std::string prompt = "Once upon a time";
  for (int i = 0; i < 40; ++i) prompt += " and on and on";
  const auto alone = session.generate(greedy(prompt, 4));
  // A chat, and two calls that nobody waits for by themselves.
  auto chat = start(session, greedy("Tom", 60));
  Program program;
  const VariableId all = program.add_variable("all");
  Node reduce;
  reduce.request = greedy("", 2);
  reduce.output = all;
  for (int i = 0; i < 2; ++i) {
    Node map;
    map.prompt.emplace_back(prompt);
    map.request = greedy("", 4);
    map.output = program.add_variable("map" + std::to_string(i));
    reduce.prompt.emplace_back(map.output);
    program.add_node(std::move(map));
  }
  program.add_node(std::move(reduce));
  deduce_goals(program, all, Goal::kLatency);
  ASSERT_EQ(program.nodes[0].goal, Goal::kThroughput);
  const auto run = session.start(std::move(program), {});
  std::uint64_t prefilled = 0, passes_with_prompts = 0;
  while (chat.result.wait_for(0s) != std::future_status::ready) {
    const SessionStats before = session.stats();
    ASSERT_TRUE(session.step());
    const SessionStats after = session.stats();
    EXPECT_LE(after.running, 2u);
    if (after.decode_tokens == before.decode_tokens) continue;  // the chat's own prompt
    EXPECT_LE(after.prefill_tokens - before.prefill_tokens, 1u) << "beside a token of the chat";
    prefilled += after.prefill_tokens - before.prefill_tokens;
    passes_with_prompts += after.prefill_tokens > before.prefill_tokens ? 1 : 0;
  }
  EXPECT_GT(passes_with_prompts, 40u) << "and they get on";
  while (session.step()) {
  }
  ASSERT_TRUE(run->finished());
  EXPECT_EQ(run->error(), nullptr);
  EXPECT_EQ(*run->program.variables[run->program.nodes[0].output].value, alone.text);
}

TEST_F(StartTest, ALongPromptDelaysRunningCallsByOneChunkAtMost) {
  Session& session = open({.context = 512, .max_batch = 2, .chunk = 8, .prefix_cache = false});
  std::vector<std::uint64_t> passes;  // forward passes at each token of the running call
  ProgramEvents events;
  std::uint64_t pass = 0;
  events.on_text = [&](NodeId, const Piece& piece) {
    passes.insert(passes.end(), piece.tokens.size(), pass);
    return true;
  };
  session.start(one_node(greedy("Once upon a time", 60)), std::move(events));
  for (int i = 0; i < 5; ++i) ++pass, session.step();
  auto longer = greedy("", 4);
  longer.prompt_ids.assign(200, 7);
  auto second = start(session, longer);
  while (++pass, session.step()) {
  }
  ASSERT_EQ(passes.size(), 60u);
  std::uint64_t most = 0;
  for (std::size_t i = 1; i < passes.size(); ++i) most = std::max(most, passes[i] - passes[i - 1]);
  EXPECT_LE(most, 1u) << "a pass went by without a token";
  EXPECT_EQ(second.result.get().tokens.size(), 4u);
}

}  // namespace
}  // namespace lathe::engine
