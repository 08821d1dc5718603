// Grammars that hold from a text on, and values in a frame: what tool calls and answers after thoughts are made of.
#include <gtest/gtest.h>

#include <regex>

#include "engine/session.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

class FrameTest : public ::testing::Test {
 protected:
  FrameTest() : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")) {
    session_ = runtime_.open(runtime_.load(file_), file_.tokenizer, {});
  }
  // Greedy text from "Once upon a time", which goes on with ", there was a little girl".
  api::GenerateResult generate(api::GenerateRequest request) {
    request.prompt = "Once upon a time";
    request.max_tokens = 60;
    return session_->generate(request);
  }
  static api::GenerateRequest greedy() {
    api::GenerateRequest request;
    request.sampling.temperature = 0;
    return request;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::unique_ptr<Session> session_;
};

TEST_F(FrameTest, AGrammarHoldsFromItsTriggerOn) {
  auto request = greedy();
  request.grammar = "root ::= \" XYZ!\"";
  request.frame.trigger = "was a";
  const auto result = generate(request);
  EXPECT_EQ(result.text, ", there was a XYZ!");
  EXPECT_EQ(result.stop_reason, api::StopReason::kEos);
}

TEST_F(FrameTest, ATriggerCanBeTheBeginningOfWhatTheGrammarSays) {
  auto request = greedy();
  request.grammar = "root ::= \"there was \" [0-9]{3}";
  request.frame.trigger = "there";
  request.frame.trigger_counts = true;
  EXPECT_TRUE(std::regex_match(generate(request).text, std::regex(", there was \\d{3}")));
}

TEST_F(FrameTest, StopTextsCountUpToWhereTheyAreToldTo) {
  const auto with = [&](std::vector<std::string> stops, bool everywhere, bool trigger_counts = false) {
    auto request = greedy();
    request.grammar = trigger_counts ? "root ::= \"was a XYZ!\"" : "root ::= \" XYZ!\"";
    request.frame = {.trigger = "was a", .trigger_counts = trigger_counts, .stops = everywhere};
    request.stop = std::move(stops);
    const auto result = generate(request);
    return std::pair(result.text, result.stop_reason);
  };
  const std::string whole = ", there was a XYZ!";
  for (const char* stop : {"XYZ", " XYZ!", "!", "a X", "was a XYZ"}) {
    EXPECT_EQ(with({stop}, true), std::pair(whole.substr(0, whole.find(stop)), api::StopReason::kStopString)) << stop;
    for (const bool counts : {false, true})
      EXPECT_EQ(with({stop}, false, counts), std::pair(whole, api::StopReason::kEos)) << stop;
  }
  for (const char* stop : {"there", "was", "was a", ","}) {
    EXPECT_EQ(with({"XYZ", stop}, false), std::pair(whole.substr(0, whole.find(stop)), api::StopReason::kStopString))
        << stop;
  }
  // What never becomes the grammar's is ordinary text.
  auto request = greedy();
  request.grammar = "root ::= \"x\"";
  request.frame = {.trigger = "no such text", .stops = false};
  request.stop = {"little"};
  EXPECT_EQ(generate(request).text, ", there was a ");
}

TEST_F(FrameTest, WithoutItsTriggerNothingIsForbidden) {
  auto request = greedy();
  const auto free = generate(request);
  request.grammar = "root ::= \"x\"";
  request.frame.trigger = "no such text";
  EXPECT_EQ(generate(request).text, free.text);
}

TEST_F(FrameTest, ValuesStandInTheirFrame) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    api::GenerateRequest request;
    request.sampling = {.temperature = 1.5f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed};
    request.json_schema = R"({"enum":[1,"a"]})";
    request.frame.begin = "<";
    request.frame.between = "|";
    request.frame.end = ">";
    EXPECT_TRUE(std::regex_match(generate(request).text, std::regex("<(1|\"a\")>")));
    request.frame.repeats = true;
    const auto result = generate(request);
    if (result.stop_reason != api::StopReason::kEos) continue;  // it may go on for long
    EXPECT_TRUE(std::regex_match(result.text, std::regex("<(1|\"a\")(\\|(1|\"a\"))*>"))) << result.text;
  }
}

}  // namespace
}  // namespace lathe::engine
