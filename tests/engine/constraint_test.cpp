// Grammars and schemas end to end on the model that ships with Lathe, and masks over its vocabulary against asking for
// every token on its own.
#include "engine/constraint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <regex>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "engine/session.h"
#include "support/data.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/token_masks.h"

namespace lathe::engine {
namespace {

const std::string kPerson =
    R"({"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":12},"age":{"type":"integer",)"
    R"("minimum":0,"maximum":120},"mood":{"enum":["glad","sad"]},"pets":{"type":"array","items":{"type":"string",)"
    R"("pattern":"^[a-z]{1,5}$"},"maxItems":2}},"required":["name","age"]})";

class ConstraintTest : public ::testing::Test {
 protected:
  ConstraintTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::unique_ptr<Session> open(SessionOptions options = {}) { return runtime_.open(model_, file_.tokenizer, options); }

  static api::GenerateRequest request(std::uint64_t seed, std::uint32_t tokens = 300) {
    api::GenerateRequest r;
    r.prompt = "Once upon a time";
    r.max_tokens = tokens;
    r.sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed};
    return r;
  }
  static api::GenerateRequest with_grammar(std::string grammar, std::uint64_t seed = 0) {
    auto r = request(seed);
    r.grammar = std::move(grammar);
    return r;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

TEST_F(ConstraintTest, UnderASchemaEverySeedGivesValidJson) {
  std::vector<api::GenerateRequest> requests;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    requests.push_back(request(seed));
    requests.back().json_schema = kPerson;
  }
  std::set<std::string> texts;
  for (const auto& result : open()->generate_all(requests)) {
    EXPECT_EQ(result.stop_reason, api::StopReason::kEos);
    Json value;
    ASSERT_NO_THROW(value = parse_json(result.text, "generated")) << result.text;
    ASSERT_TRUE(value.is_object() && value.contains("name") && value.contains("age")) << result.text;
    EXPECT_GE(value["name"].get<std::string>().size(), 1u);
    EXPECT_TRUE(value["age"].is_number_integer() && value["age"] >= 0 && value["age"] <= 120) << result.text;
    for (const auto& [name, member] : value.items()) {
      EXPECT_TRUE(name == "name" || name == "age" || name == "mood" || name == "pets") << result.text;
      if (name == "mood") {
        EXPECT_TRUE(member == "glad" || member == "sad") << result.text;
      }
      if (name == "pets") {
        EXPECT_LE(member.size(), 2u);
        for (const Json& pet : member) EXPECT_TRUE(std::regex_match(pet.get<std::string>(), std::regex("[a-z]{1,5}")));
      }
    }
    texts.insert(result.text);
  }
  EXPECT_GT(texts.size(), 50u);
}

TEST_F(ConstraintTest, AGrammarDecidesWhatIsSaidAndWhenItEnds) {
  const auto session = open();
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto result = session->generate(with_grammar("root ::= \" \" (\"cat\" | \"d\\u00f6g\") [.!]{2,3}", seed));
    EXPECT_TRUE(std::regex_match(result.text, std::regex(" (cat|d\xc3\xb6g)[.!]{2,3}"))) << result.text;
    EXPECT_EQ(result.stop_reason, api::StopReason::kEos);
  }
}

TEST_F(ConstraintTest, ResultsDoNotDependOnTheBatchNorOnEarlierRequests) {
  std::vector<api::GenerateRequest> requests;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    requests.push_back(request(seed, 60));
    if (seed % 3 == 0) requests.back().json_schema = kPerson;
    if (seed % 3 == 1) requests.back().grammar = "root ::= ([a-z ]{1,9} [.,])+";
  }
  const auto together = open({.max_batch = 4, .chunk = 5})->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(together[i].text, open()->generate(requests[i]).text) << i;
}

TEST_F(ConstraintTest, AnythingGoesChangesNothing) {
  // Every token that the free model draws here is text, so a grammar of any characters forbids none of them.
  const auto session = open();
  auto free = request(5, 40);
  const auto without = session->generate(free);
  free.grammar = "root ::= .*";
  EXPECT_EQ(session->generate(free).text, without.text);
}

TEST_F(ConstraintTest, LogProbabilitiesAreTheModels) {
  auto r = with_grammar("root ::= \" z\"");
  r.logprobs = 3;
  const auto result = open()->generate(r);
  ASSERT_FALSE(result.tokens.empty());
  EXPECT_TRUE(std::isfinite(result.tokens[0].logprob));
  EXPECT_LT(result.tokens[0].logprob, result.tokens[0].alternatives[0].logprob);  // not what it would have said
}

TEST_F(ConstraintTest, ItEndsByItselfWhereNothingCanFollow) {
  auto r = with_grammar("root ::= \" a b\"");
  r.ignore_eos = true;
  const auto result = open()->generate(r);
  EXPECT_EQ(result.text, " a b");
  EXPECT_EQ(result.stop_reason, api::StopReason::kEos);
  EXPECT_LE(result.tokens.size(), 4u);
}

TEST_F(ConstraintTest, ErrorsEndTheRequestAndTheSessionGoesOn) {
  const auto session = open();
  EXPECT_THROW(session->generate(with_grammar("root ::= nothing")), Error);
  EXPECT_THROW(session->generate(with_grammar("root ::= root \"a\"")), Error);
  auto both = with_grammar("root ::= \"a\"");
  both.json_schema = "{}";
  EXPECT_THROW(session->generate(both), UsageError);
  auto bad = request(0);
  bad.json_schema = R"({"not":{}})";
  EXPECT_THROW(session->generate(bad), Error);
  auto empty = with_grammar("root ::= \"\"");
  empty.ignore_eos = true;
  try {
    session->generate(empty);
    FAIL() << "no token may follow";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no token of the vocabulary may follow"), std::string::npos)
        << error.what();
  }
  empty.ignore_eos = false;
  EXPECT_EQ(session->generate(empty).text, "");
  EXPECT_EQ(session->generate(with_grammar("root ::= \" ok\"")).text, " ok");
}

TEST_F(ConstraintTest, MasksAreWhatEveryTokenAloneSays) {
  using namespace text::grammar;
  const auto vocabulary = std::make_shared<Vocabulary>(*file_.tokenizer);
  std::mt19937 random(11);
  std::size_t states = 0;
  const std::vector<Grammar> grammars = {
      grammar_from_json_schema(kPerson), grammar_from_json_schema("{}"),
      parse_gbnf(
          "root ::= s+\ns ::= w (\" \" w){2,9} [.!?] \" \"\nw ::= [a-zA-Z]+ | \"\\u00e9\" . | [^\\x00-\\x7f]{2}"),
      parse_gbnf("root ::= \"(\" root \")\" root | \"\"")};
  for (const Grammar& grammar : grammars) {
    const auto masks = std::make_shared<TokenMasks>(std::make_shared<Automaton>(grammar), vocabulary);
    for (int text = 0; text < 6; ++text) {
      Matcher matcher(masks);
      for (int step = 0; step < 40; ++step, ++states) {
        const TokenSet allowed = matcher.allowed();
        std::vector<text::TokenId> may;
        for (text::TokenId id = 0; static_cast<std::size_t>(id) < vocabulary->size(); ++id) {
          if (vocabulary->ends_generation(id)) {
            EXPECT_EQ(allowed.has(id), matcher.complete());
            continue;
          }
          Matcher alone = matcher;
          const bool fits = alone.accept(id);
          ASSERT_EQ(allowed.has(id), fits) << "token " << id;
          if (fits) may.push_back(id);
        }
        if (may.empty()) break;
        ASSERT_TRUE(matcher.accept(may[random() % may.size()]));
      }
    }
  }
  EXPECT_GT(states, 500u);
}

TEST_F(ConstraintTest, ControlTokensAreNeverText) {
  Constraints constraints(file_.tokenizer);
  const auto processor = constraints.processor_for(with_grammar("root ::= .+"));
  std::vector<float> logits(file_.tokenizer->size() + 5, 0.0f);  // padded, as embeddings are
  processor->process(logits, {});
  EXPECT_TRUE(std::isinf(logits[static_cast<std::size_t>(file_.tokenizer->special().bos)]));
  EXPECT_TRUE(std::isinf(logits.back()));
  EXPECT_EQ(logits[static_cast<std::size_t>(file_.tokenizer->find("\u2581the"))], 0.0f);
}

}  // namespace
}  // namespace lathe::engine
