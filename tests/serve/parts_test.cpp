// The server's small parts without a socket: fields of a request, reasoning tags, tool calls, counters.
#include <gtest/gtest.h>

#include "base/json.h"
#include "serve/metrics.h"
#include "serve/openai/fields.h"
#include "serve/reasoning.h"
#include "serve/tool_call_reader.h"
#include "serve/tool_format.h"
#include "text/grammar/automaton.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/machine.h"

namespace lathe::serve {
namespace {

TEST(Fields, NumbersAreWholeAndWithinBounds) {
  const Json body =
      parse_body(R"({"a":16,"b":16.0,"c":1e3,"d":16.5,"e":18446744073709551615,"f":-1,"g":"16","h":null})");
  Fields fields(body);
  EXPECT_EQ(fields.integer("a", 0, 16), 16);
  EXPECT_EQ(fields.integer("b", 0, 16), 16);
  EXPECT_EQ(fields.integer("c", 0, 1000), 1000);
  EXPECT_FALSE(fields.integer("h", 0, 1).has_value());
  EXPECT_FALSE(fields.integer("absent", 0, 1).has_value());
  for (const char* key : {"d", "e", "f", "g"}) EXPECT_THROW(fields.integer(key, 0, 1 << 30), ApiError) << key;
  EXPECT_THROW(fields.integer("a", 0, 15), ApiError);
  EXPECT_NO_THROW(fields.finish());
}

TEST(Fields, UnknownOnesAreNamedWithTheirPlace) {
  const Json body = parse_body(R"({"known":1,"strange":2})");
  Fields fields(body, "messages[3]");
  fields.integer("known", 0, 9);
  try {
    fields.finish();
    FAIL();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.param(), "messages[3].strange");
    EXPECT_EQ(error.status(), 400u);
  }
}

TEST(Body, BoundsOfDepthKeysAndValues) {
  const auto nested = [](int depth) { return "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}"; };
  EXPECT_NO_THROW(parse_body(nested(99)));
  EXPECT_THROW(parse_body(nested(100)), ApiError);
  std::string keys = "{";
  for (int i = 0; i < 1025; ++i) keys += fmt::format("{}\"{}\":0", i == 0 ? "" : ",", i);
  EXPECT_THROW(parse_body(keys + "}"), ApiError);
  std::string values = "{\"a\":[0";
  for (int i = 0; i < 500'000; ++i) values += ",0";
  EXPECT_THROW(parse_body(values + "]}"), ApiError);
}

// The same parts however the text is cut into pieces.
TEST(Reasoning, ThoughtsAndAnswerAreToldApartInAnyPieces) {
  struct Case {
    std::string text;
    bool inside;
    std::string reasoning, content;
  };
  const Case cases[] = {{"<think>one\ntwo</think>\n\nthree", false, "one\ntwo", "three"},
                        {" \n<think>a</think>b<think>c</think>", false, "a", "b<think>c</think>"},
                        {"no thoughts < here", false, "", "no thoughts < here"},
                        {"<thin", false, "", "<thin"},
                        {"a</thin</think> b", true, "a</thin", "b"},
                        {"never ends</thi", true, "never ends</thi", ""},
                        {"", false, "", ""}};
  for (const Case& one : cases) {
    for (std::size_t size = 1; size <= 9; ++size) {
      ReasoningSplitter splitter({"<think>", "</think>"}, one.inside);
      std::string reasoning, content;
      const auto add = [&](const ReasoningSplitter::Parts& parts) {
        reasoning += parts.reasoning;
        content += parts.content;
      };
      for (std::size_t at = 0; at < one.text.size(); at += size)
        add(splitter.push(std::string_view(one.text).substr(at, size)));
      add(splitter.flush());
      EXPECT_EQ(reasoning, one.reasoning) << one.text << " by " << size;
      EXPECT_EQ(content, one.content) << one.text << " by " << size;
    }
  }
}

TEST(Reasoning, WithoutTagsEverythingIsContent) {
  ReasoningSplitter splitter(reasoning_tags_of("{{ messages }}"), false);
  EXPECT_EQ(splitter.push("<think>x").content, "<think>x");
  EXPECT_EQ(reasoning_tags_of("a </think> b").open, "<think>");
}

TEST(Tools, TheTemplateNamesTheFormat) {
  EXPECT_EQ(tool_format_of("{% if tools %}<tool_call>{% endif %}")->name, "hermes");
  EXPECT_EQ(tool_format_of("tools [TOOL_CALLS]")->name, "mistral");
  EXPECT_EQ(tool_format_of("tools {\"name\": x, \"parameters\": y}")->name, "llama3");
  EXPECT_EQ(tool_format_of("tools of a kind unknown here"), nullptr);
  EXPECT_EQ(tool_format_of("<tool_call> but none"), nullptr);
}

const std::vector<Tool> kTools = {{"f", {}}, {"g", {}}};

// What was read: every call with its arguments put together, and whether it was whole.
std::string read_calls(const ToolFormat& format, const std::vector<std::string_view>& pieces) {
  ToolCallReader reader(format, kTools);
  std::string told;
  std::vector<ToolCall> calls;
  for (const std::string_view piece : pieces) {
    for (const ToolCallEvent& event : reader.push(piece)) {
      if (!event.name.empty()) {
        EXPECT_EQ(event.call, calls.size());
        EXPECT_EQ(event.arguments, "");
        calls.push_back({event.name, {}});
      } else {
        EXPECT_EQ(event.call + 1, calls.size()) << "arguments before the name";
        EXPECT_NE(event.arguments, "");
        calls.back().arguments += event.arguments;
      }
    }
  }
  for (const ToolCall& call : calls) told += call.name + call.arguments + ";";
  EXPECT_EQ(calls.size(), reader.calls().size());
  for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(calls[i].arguments, reader.calls()[i].arguments);
  return told + (reader.whole() ? "whole" : "cut");
}

TEST(Tools, CallsAreReadInEveryFormatAndInAnyPieces) {
  const ToolFormat& hermes = *tool_format_of("tools <tool_call>");
  const ToolFormat& mistral = *tool_format_of("tools [TOOL_CALLS]");
  const ToolFormat& llama = *tool_format_of("tools \"parameters\": ");
  struct Case {
    const ToolFormat& format;
    std::string text, expected;
  };
  const Case cases[] = {
      {hermes,
       "\n{\"name\": \"f\", \"arguments\": {\"a\": \"}{\\\"\\\\\"}}\n</tool_call>\n<tool_call>\n{\"name\":\"g\", "
       "\"arguments\":{ }\n}\n</tool_call>",
       R"(f{"a": "}{\"\\"};g{ };whole)"},
      {hermes, "\n{\"name\": \"f\", \"arguments\": {\"é\": 1e2, \"é\": \"\\u00e9€\"}}",
       "f{\"é\": 1e2, \"é\": \"\\u00e9€\"};whole"},
      {hermes, "\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arg",
       "f{};g;cut"},
      {mistral,
       R"([{"name": "g", "arguments": {"x": [1, {"y": 2}]}}, {"name": "g", "arguments": {"x": "]"}}, {"name": "f",)"
       R"("arguments": {}}])",
       R"(g{"x": [1, {"y": 2}]};g{"x": "]"};f{};whole)"},
      {mistral, R"([{"name": "g", "arguments": {"x": [1, {"y": "a)", R"(g{"x": [1, {"y": "a;cut)"},
      {llama, R"({"name": "f", "parameters": {"n": {"parameters": {}}}})", R"(f{"n": {"parameters": {}}};whole)"},
      {llama, R"({"name": "f", "arguments": {"n": 1}})", "f;cut"},
      {llama, R"({"name": "f", "parameters": {"n": [}]})", R"(f{"n": [}];cut)"},
      {llama, R"({"name": "f", "parameters": {}, "name": "g"})", "f{};cut"},
      {hermes, "", "cut"},
      {hermes, "text", "cut"},
      {hermes, R"({"name": "h", "arguments": {}})", "cut"},
      {hermes, R"({"name": "f"})", "f;cut"},
      {hermes, R"({"name": "f", "arguments": [1]})", "f;cut"},
      {hermes, R"({"name": 3, "arguments": {}})", "cut"},
      {hermes, R"({"arguments": {}, "name": "f"})", "cut"},
  };
  for (const Case& one : cases) {
    const std::string_view text = one.text;
    EXPECT_EQ(read_calls(one.format, {text}), one.expected) << text;
    std::vector<std::string_view> bytes;
    for (std::size_t at = 0; at < text.size(); ++at) {
      bytes.push_back(text.substr(at, 1));
      EXPECT_EQ(read_calls(one.format, {text.substr(0, at), text.substr(at)}), one.expected) << text << " at " << at;
    }
    EXPECT_EQ(read_calls(one.format, bytes), one.expected) << text << " byte by byte";
  }
}

// A stream can tell a call before its arguments are there only because no call may be written otherwise.
TEST(Tools, TheNameComesBeforeTheArguments) {
  for (const char* chat_template : {"tools <tool_call>", "tools [TOOL_CALLS]", "tools \"parameters\": "}) {
    const ToolFormat& format = *tool_format_of(chat_template);
    text::grammar::Machine machine(std::make_shared<text::grammar::Automaton>(
        text::grammar::grammar_from_json_schema(tool_calls_schema(format, kTools))));
    const auto accepts = [&](const std::string& text) {
      text::grammar::SetId set = machine.start();
      for (const char c : text) set = machine.step(set, static_cast<std::uint8_t>(c));
      return machine.accepts(set);
    };
    const std::string name = R"("name": "g")", arguments = fmt::format(R"("{}": {{"a": 1}})", format.arguments_key);
    EXPECT_TRUE(accepts("{" + name + ", " + arguments + "}")) << format.name;
    EXPECT_FALSE(accepts("{" + arguments + ", " + name + "}")) << format.name;
  }
}

TEST(Tools, ASchemasReferencesStillPointIntoIt) {
  const Json parameters = Json::parse(
      R"({"$defs":{"x":{"enum":[1]}},"type":"object","properties":{"$ref":{"const":"#/a"},"v":{"$ref":"#/$defs/x"}}})");
  const std::vector<Tool> tools = {{"first", {}}, {"second", parameters}};
  const std::string text = tool_calls_schema(fallback_tool_format(), tools);
  const Json schema = Json::parse(text);
  const Json& moved = schema["anyOf"][1]["properties"]["arguments"]["properties"];
  EXPECT_EQ(moved["v"]["$ref"], "#/anyOf/1/properties/arguments/$defs/x");
  EXPECT_EQ(moved["$ref"]["const"], "#/a");
  EXPECT_NO_THROW(text::grammar::Automaton(text::grammar::grammar_from_json_schema(text)));
}

TEST(Histogram, BucketsAddUp) {
  Histogram histogram;
  for (const double seconds : {0.0005, 0.001, 0.3, 1000.0}) histogram.add(seconds);
  std::string text;
  histogram.write(text, "t", "help");
  EXPECT_NE(text.find("t_bucket{le=\"0.001\"} 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{le=\"0.5\"} 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{le=\"60\"} 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{le=\"+Inf\"} 4\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_count 4\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace lathe::serve
