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

// Two maps and a reduce, and a last call behind it.
struct MapReduce {
  Program program;
  VariableId a = program.add_variable("a"), b = program.add_variable("b"), all = program.add_variable("all"),
             end = program.add_variable("end");
  MapReduce() {
    program.add_node(call({"1"}, a));
    program.add_node(call({"2"}, b));
    program.add_node(call({a, b}, all));
    program.add_node(call({all}, end));
    validate(program);
  }
};

TEST(Program, DepthCountsTheLongestWay) {
  MapReduce made;
  made.program.add_node(call({made.a, made.end}, made.program.add_variable("later")));
  validate(made.program);
  std::vector<std::uint32_t> depths;
  for (const Node& node : made.program.nodes) depths.push_back(node.depth);
  EXPECT_EQ(depths, (std::vector<std::uint32_t>{0, 0, 1, 2, 3}));
}

TEST(Program, GoalsGoBackwards) {
  MapReduce made;
  deduce_goals(made.program, made.end, Goal::kLatency);
  const std::vector<Node>& nodes = made.program.nodes;
  EXPECT_EQ(nodes[3].goal, Goal::kLatency);
  EXPECT_EQ(nodes[2].goal, Goal::kLatency);
  EXPECT_EQ(nodes[0].goal, Goal::kThroughput);
  ASSERT_TRUE(nodes[0].task_group && nodes[1].task_group);
  EXPECT_EQ(*nodes[0].task_group, *nodes[1].task_group);
  EXPECT_FALSE(nodes[2].task_group || nodes[3].task_group);
  // What is urgent for one stays so when another does not mind; what one alone waits for becomes urgent.
  deduce_goals(made.program, made.end, Goal::kThroughput);
  EXPECT_EQ(nodes[3].goal, Goal::kLatency);
  deduce_goals(made.program, made.b, Goal::kLatency);
  EXPECT_EQ(nodes[1].goal, Goal::kLatency);
  EXPECT_EQ(nodes[0].goal, Goal::kThroughput);
}

TEST(Program, ThroughputReachesEverythingBehind) {
  MapReduce made;
  deduce_goals(made.program, made.all, Goal::kThroughput);
  for (NodeId id = 0; id < 3; ++id) EXPECT_EQ(made.program.nodes[id].goal, Goal::kThroughput) << id;
  EXPECT_EQ(made.program.nodes[3].goal, Goal::kLatency);
  EXPECT_TRUE(made.program.task_groups.empty());
}

TEST(Program, InputsOfAnOpenProgramMayFollow) {
  Program program;
  program.add_node(call({program.add_variable("later")}, program.add_variable("output")));
  EXPECT_THROW(validate(program), Error);
  EXPECT_NO_THROW(validate(program, Inputs::kMayFollow));
}

TEST(ValueTransform, TextsOnTheirWay) {
  const auto apply = [](std::string_view name, const std::string& text) {
    const ValueTransform transform = ValueTransform::named(name);
    EXPECT_EQ(transform.name(), name);
    return transform.apply(text);
  };
  EXPECT_EQ(apply("", " a "), " a ");
  EXPECT_EQ(apply("trim", " \n a b\t"), "a b");
  EXPECT_EQ(apply("trim", " \n"), "");
  EXPECT_EQ(apply("first_line", "\n one \r\ntwo"), "one");
  EXPECT_EQ(apply("json:name", R"( {"name": "Tom", "age": 3} )"), "Tom");
  EXPECT_EQ(apply("json:age", R"({"name": "Tom", "age": 3})"), "3");
  EXPECT_THROW(apply("json:name", "Tom"), Error);
  EXPECT_THROW(apply("json:name", "[1]"), Error);
  EXPECT_THROW(apply("json:name", "{}"), Error);
  EXPECT_THROW(ValueTransform::named("eval"), Error);
  EXPECT_THROW(ValueTransform::named("json:"), Error);
}

}  // namespace
}  // namespace lathe::engine
