// Programs that can run are told from those that cannot, and the errors name the culprit.
#include "engine/program.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lathe::engine {
namespace {

Node call(std::vector<std::variant<std::string, VariableId>> prompt, VariableId output) {
  Node node;
  node.prompt = std::move(prompt);
  node.output = output;
  return node;
}

TEST(Program, AChainIsValid) {
  Program program;
  const VariableId question = program.add_variable("question", "why?"), draft = program.add_variable("draft"),
                   answer = program.add_variable("answer");
  program.add_node(call({"Think: ", question}, draft));
  program.add_node(call({"Answer from ", draft}, answer));
  EXPECT_NO_THROW(validate(program));
}

TEST(Program, AVariableHasOneProducer) {
  Program program;
  const VariableId output = program.add_variable("twice");
  program.add_node(call({"a"}, output));
  EXPECT_THROW(program.add_node(call({"b"}, output)), Error);
}

TEST(Program, InputsNobodyProducesAreNamed) {
  Program program;
  const VariableId missing = program.add_variable("missing"), output = program.add_variable("output");
  program.add_node(call({missing}, output));
  try {
    validate(program);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("missing"), std::string::npos) << error.what();
  }
}

TEST(Program, CyclesAreFound) {
  Program program;
  const VariableId a = program.add_variable("a"), b = program.add_variable("b"), c = program.add_variable("c");
  program.add_node(call({"free"}, c));
  program.add_node(call({b}, a));
  program.add_node(call({a}, b));
  EXPECT_THROW(validate(program), Error);
}

TEST(Program, IdsOutOfRangeAreErrors) {
  Program program;
  EXPECT_THROW(program.add_node(call({"a"}, 3)), Error);
  const VariableId output = program.add_variable("output");
  program.add_node(call({VariableId{9}}, output));
  EXPECT_THROW(validate(program), Error);
}

TEST(Program, AValueAndAProducerContradictEachOther) {
  Program program;
  const VariableId output = program.add_variable("output", "given");
  program.add_node(call({"a"}, output));
  EXPECT_THROW(validate(program), Error);
}

}  // namespace
}  // namespace lathe::engine
