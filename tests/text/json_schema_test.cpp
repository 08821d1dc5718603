// Schemas as grammars: what random walks through the grammar write parses and satisfies the schema under a validator of
// this file's own; values that must be writable are; unknown keywords are errors that say where.
#include "text/grammar/json_schema.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <regex>

#include "base/json.h"
#include "text/grammar/machine.h"
#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

// JSON Schema as its specification reads, for the keywords the tests use.
class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}
  bool valid(const Json& v, const Json& s) const {
    if (s.is_boolean()) return s.get<bool>();
    for (const auto& [keyword, x] : s.items()) {
      if (!holds(keyword, x, v, s)) return false;
    }
    return true;
  }

 private:
  static bool is(const Json& v, const std::string& type) {
    if (type == "integer") return v.is_number() && v.get<double>() == std::floor(v.get<double>());
    if (type == "number") return v.is_number();
    return type == v.type_name();
  }
  template <class Test>
  static std::size_t how_many(const Json& list, Test&& test) {
    return static_cast<std::size_t>(std::count_if(list.begin(), list.end(), test));
  }
  static std::size_t characters(const Json& v) { return count_chars(v.get_ref<const std::string&>()); }
  static bool matches(const Json& v, const std::string& pattern) {
    // std::regex sees bytes; every character beyond ASCII stands in as one that no pattern here names.
    std::string text;
    for (const char c : v.get_ref<const std::string&>()) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x80 || byte >= 0xC0) text += byte < 0x80 ? c : '~';
    }
    return std::regex_search(text, std::regex(pattern));
  }

  bool holds(const std::string& keyword, const Json& x, const Json& v, const Json& s) const {
    const auto sub = [&](const Json& schema) { return valid(v, schema); };
    if (keyword == "type") {
      if (x.is_string()) return is(v, x);
      return how_many(x, [&](const Json& t) { return is(v, t); }) > 0;
    }
    if (keyword == "enum") return how_many(x, [&](const Json& e) { return e == v; }) > 0;
    if (keyword == "const") return v == x;
    if (keyword == "anyOf") return how_many(x, sub) > 0;
    if (keyword == "oneOf") return how_many(x, sub) == 1;
    if (keyword == "allOf") return how_many(x, sub) == x.size();
    if (keyword == "$ref") return valid(v, root_.at(Json::json_pointer(x.get<std::string>().substr(1))));
    if (v.is_object()) return holds_for_object(keyword, x, v, s);
    if (v.is_array()) {
      if (keyword == "minItems") return v.size() >= x;
      if (keyword == "maxItems") return v.size() <= x;
      const std::size_t prefix = s.contains("prefixItems") ? s["prefixItems"].size() : 0;
      for (std::size_t i = 0; i < v.size(); ++i) {
        if (keyword == "prefixItems" && i < prefix && !valid(v[i], x[i])) return false;
        if (keyword == "items" && i >= prefix && !valid(v[i], x)) return false;
      }
    }
    if (v.is_string()) {
      if (keyword == "minLength") return characters(v) >= x;
      if (keyword == "maxLength") return characters(v) <= x;
      if (keyword == "pattern") return matches(v, x);
      if (keyword == "format" && x == "date") return matches(v, "^\\d{4}-\\d\\d-\\d\\d$");
      if (keyword == "format" && x == "uuid") return matches(v, "^[\\da-f]{8}(-[\\da-f]{4}){3}-[\\da-f]{12}$");
      if (keyword == "format" && x == "date-time") return matches(v, "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d");
    }
    if (v.is_number()) {
      if (keyword == "minimum") return v >= x;
      if (keyword == "maximum") return v <= x;
      if (keyword == "exclusiveMinimum") return v > x;
      if (keyword == "exclusiveMaximum") return v < x;
    }
    return true;
  }

  bool holds_for_object(const std::string& keyword, const Json& x, const Json& v, const Json& s) const {
    if (keyword == "required")
      return how_many(x, [&](const Json& name) { return v.contains(name.get<std::string>()); }) == x.size();
    if (keyword == "minProperties") return v.size() >= x;
    if (keyword == "maxProperties") return v.size() <= x;
    for (const auto& [name, value] : v.items()) {
      const bool listed = s.contains("properties") && s["properties"].contains(name);
      if (keyword == "properties" && listed && !valid(value, x[name])) return false;
      if (keyword == "additionalProperties" && !listed && !valid(value, x)) return false;
    }
    return true;
  }

  const Json& root_;
};

std::shared_ptr<const Automaton> compiled(std::string_view schema) {
  return std::make_shared<Automaton>(grammar_from_json_schema(schema));
}

// Bytes at random among those that may follow; after `soft` bytes it ends at the first chance. Empty when it got lost.
std::string random_text(Machine& machine, std::mt19937& random, std::size_t soft) {
  std::string text;
  for (SetId set = machine.start(); text.size() < 20'000;) {
    std::vector<std::uint8_t> may;
    for (int byte = 0; byte < 256; ++byte) {
      if (machine.step(set, static_cast<std::uint8_t>(byte)) != Machine::kDead)
        may.push_back(static_cast<std::uint8_t>(byte));
    }
    if (machine.accepts(set) && (may.empty() || text.size() > soft || random() % 4 == 0)) return text;
    std::uint8_t byte = may[random() % may.size()];
    // Patterns rarely come about among all characters, so half of the time it is one of a few.
    static constexpr std::string_view kLikely = "ab.x19";
    const auto likely = static_cast<std::uint8_t>(kLikely[random() % kLikely.size()]);
    if (random() % 2 == 0 && std::find(may.begin(), may.end(), likely) != may.end()) byte = likely;
    // Long texts close what is open where they can.
    const auto has = [&](char c) {
      return std::find(may.begin(), may.end(), static_cast<std::uint8_t>(c)) != may.end();
    };
    const bool in_string = may.size() > 90;
    for (const char closing : {'"', '}', ']'}) {
      if (text.size() > soft && has(closing) && (closing == '"') == in_string)
        byte = static_cast<std::uint8_t>(closing);
    }
    text += static_cast<char>(byte);
    set = machine.step(set, byte);
  }
  return "";
}

bool can_be_written(const std::shared_ptr<const Automaton>& automaton, std::string_view text) {
  Machine machine(automaton);
  SetId set = machine.start();
  for (const char byte : text) set = machine.step(set, static_cast<std::uint8_t>(byte));
  return machine.accepts(set);
}

struct Case {
  std::string schema;
  std::vector<std::string> yes, no;  // texts that can and cannot be written
};

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {R"({})", {"{}", "[1,\"a\"]", "null", "-1.5e3", "{\"a\":[true]}"}, {"", "{", "01", "[1,]", "tru", "\"\n\""}},
      {R"(true)", {"1"}, {"x"}},
      {R"({"type":"object"})", {"{}", "{\"a\":1, \"b\":{}}"}, {"[]", "1"}},
      {R"({"type":["string","null"]})",
       {"null", "\"a\\u00e9\\n\"", "\"\\ud83d\\ude00\""},
       {"1", "\"\\ud83d\"", "\"\\ude00\""}},
      {R"({"type":"boolean"})", {"true", "false"}, {"null"}},
      {R"({"enum":["a",1,null,{"x":[1]}]})", {"\"a\"", "1", "null", "{\"x\":[1]}"}, {"2"}},
      {R"({"enum":["a",1,2.5],"type":"number"})", {"1", "2.5"}, {"\"a\""}},
      {R"({"const":"a\"b"})", {"\"a\\\"b\""}, {"\"a\""}},
      {R"({"type":"integer"})", {"0", "-12", "123456789012345678"}, {"1.5", "01", "-", "1e3"}},
      {R"({"type":"integer","minimum":-5,"maximum":17})", {"-5", "0", "9", "17", "-1"}, {"-6", "18", "007", "170"}},
      {R"({"type":"integer","minimum":17,"maximum":342})", {"17", "99", "100", "342"}, {"16", "343", "1000", "-20"}},
      {R"({"type":"integer","exclusiveMinimum":0})", {"1", "10"}, {"0", "-1"}},
      {R"({"type":"integer","exclusiveMaximum":-9.5})", {"-10", "-1000"}, {"-9", "0", "9"}},
      {R"({"type":"integer","minimum":2.5,"exclusiveMaximum":4})", {"3"}, {"2", "4"}},
      {R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.25", "1.0"}, {"1.01", "-0.1", "2"}},
      {R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})", {"0.5", "0.001"}, {"0", "1", "0.0", "1.0"}},
      {R"({"type":"number","minimum":-2,"exclusiveMaximum":3})",
       {"-2", "-1.5", "-0.5", "0", "2.99"},
       {"3", "-2.1", "3.0"}},
      {R"({"type":"number","minimum":1000})", {"1000", "1000.5", "99999"}, {"999.9", "-1000"}},
      {R"({"type":"string","minLength":2,"maxLength":3})", {"\"ab\"", "\"a\\n\xc3\xa9\""}, {"\"a\"", "\"abcd\""}},
      {R"({"type":"string","pattern":"^(foo|ba[rz])-\\d{2,3}$"})",
       {"\"foo-12\"", "\"baz-123\""},
       {"\"foo-1\"", "\"xfoo-12\""}},
      {R"({"type":"string","pattern":"a+\\."})", {"\"xxaa.yy\"", "\"a.\""}, {"\"xx\""}},
      {R"({"type":"string","pattern":"^[^a-z\\s]\"\\\\$"})", {"\"A\\\"\\\\\""}, {"\"a\\\"\\\\\""}},
      {R"({"type":"string","pattern":"^a|b$"})", {"\"axx\"", "\"xxb\""}, {"\"xax\""}},
      {R"({"type":"string","format":"date"})",
       {"\"2024-12-31\"", "\"2023-02-28\""},
       {"\"2024-13-01\"", "\"2024-04-31\"", "\"2023-02-30\""}},
      {R"({"type":"string","format":"date-time"})",
       {"\"2024-12-31T23:59:59Z\"", "\"2024-01-01T00:00:00.5+02:00\""},
       {"\"2024-12-31\""}},
      {R"({"type":"string","format":"uuid"})", {"\"01234567-89ab-cdef-0123-456789abcdef\""}, {"\"0\""}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1,2,3]", "[ 1 , 2 ]"},
       {"[]", "[1,2,3,4]"}},
      {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"}})",
       {"[]", "[1]", "[1,\"a\"]", "[1,\"a\",null,null]"},
       {"[\"a\"]", "[1,\"a\",1]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2})",
       {"[1,\"a\"]"},
       {"[1]", "[1,\"a\",1]"}},
      {R"({"type":"array","prefixItems":[true,true],"maxItems":1})", {"[]", "[{}]"}, {"[1,1]"}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},"c":{"type":"boolean"}},"required":["b"]})",
       {R"({"b":null})", R"({"a":1,"b":null})", R"({"b":null,"c":true})", R"({ "a" : 1, "b":null,"c":false })"},
       {"{}", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,"x":1})", R"({"b":null,})"}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"null"}},"additionalProperties":{"type":"string"}})",
       {"{}", R"({"a":1})", R"({"ab":null})", R"({"ac":"x"})", R"({"a":1,"":"y","b":"x"})", R"({"abc":"x"})"},
       {R"({"a":"x"})", R"({"ab":"x"})", R"({"x":1})", R"({"x":"1",})"}},
      {R"({"type":"object","properties":{"a":false,"b":true}})", {"{}", R"({"b":{}})"}, {R"({"a":1})"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})",
       {R"({"a":1})", R"({"a":1,"b":2})"},
       {"{}", R"({"a":1,"b":2,"c":3})"}},
      {R"({"type":"object","required":["x"],"additionalProperties":{"type":"integer"}})",
       {R"({"x":1,"y":2})"},
       {"{}", R"({"y":1})"}},
      {R"({"type":"object","properties":{},"additionalProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"anyOf":[{"type":"string","maxLength":2},{"type":"integer","minimum":10,"maximum":12}]})",
       {"\"ab\"", "11"},
       {"\"abc\"", "9"}},
      {R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"v":{"type":"integer"}},"required":["k","v"]},
                    {"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})",
       {R"({"k":"a","v":1})", R"({"k":"b"})"},
       {R"({"k":"a"})", R"({"k":"c"})"}},
      {R"({"type":"object","required":["t"],"anyOf":[{"properties":{"t":{"const":1}}},{"properties":{"t":{"const":2}}}]})",
       {R"({"t":1})", R"({"t":2})"},
       {"{}", R"({"t":3})"}},
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":3}},"required":["a"]},
                    {"properties":{"b":{"type":"string","maxLength":1},"a":{"maximum":5}}}]})",
       {R"({"a":3})", R"({"a":5,"b":"x"})"},
       {"{}", R"({"a":6})", R"({"a":2})"}},
      {R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},
           "kids":{"type":"array","items":{"$ref":"#/$defs/tree"},"maxItems":2}},"required":["v"]}}})",
       {R"({"v":1})", R"({"v":1,"kids":[{"v":2,"kids":[]},{"v":3}]})"},
       {R"({"kids":[]})", R"({"v":1,"kids":[1]})"}},
      {R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]})",
       {R"({"next":{"next":null}})"},
       {"{}"}},
      {R"({"$ref":"#/definitions/a~1b","definitions":{"a/b":{"$ref":"#/definitions/c d"},"c d":{"type":"null"}}})",
       {"null"},
       {"1"}},
      {R"({"properties":{"\"q\\":{"const":1}},"required":["\"q\\"]})", {R"({"\"q\\":1})"}, {"{}"}},
      {R"({"minLength":1,"maxLength":4,"title":"t","description":"d","default":"x"})", {"\"a\""}, {"\"\"", "1"}},
  };
  return kCases;
}

TEST(JsonSchema, WritesWhatItShouldAndNothingElse) {
  for (const Case& c : cases()) {
    const auto automaton = compiled(c.schema);
    const Json schema = parse_json(c.schema, "schema");
    const Validator validator(schema);
    for (const std::string& text : c.yes) {
      EXPECT_TRUE(can_be_written(automaton, text)) << c.schema << "\n  " << text;
      EXPECT_TRUE(validator.valid(parse_json(text, "value"), schema)) << c.schema << "\n  " << text;
    }
    for (const std::string& text : c.no) EXPECT_FALSE(can_be_written(automaton, text)) << c.schema << "\n  " << text;
  }
}

TEST(JsonSchema, RandomWalksWriteValidValues) {
  std::mt19937 random(7);
  int texts = 0;
  for (const Case& c : cases()) {
    const Json schema = parse_json(c.schema, "schema");
    const Validator validator(schema);
    Machine machine(compiled(c.schema));
    for (int i = 0; i < 60; ++i) {
      const std::string text = random_text(machine, random, 150);
      ASSERT_FALSE(text.empty()) << c.schema;
      Json value;
      ASSERT_NO_THROW(value = parse_json(text, "text")) << c.schema << "\n  " << text;
      ASSERT_TRUE(validator.valid(value, schema)) << c.schema << "\n  " << text;
      ++texts;
    }
  }
  EXPECT_GT(texts, 2000);
}

TEST(JsonSchema, RangesHoldExactlyTheirNumbers) {
  std::mt19937 random(3);
  for (int round = 0; round < 150; ++round) {
    const int a = static_cast<int>(random() % 2400) - 1200,
              b = a + static_cast<int>(random() % (round % 2 != 0 ? 30 : 1500));
    const auto automaton = compiled(fmt::format(R"({{"type":"integer","minimum":{},"maximum":{}}})", a, b));
    const auto real = compiled(fmt::format(R"({{"type":"number","minimum":{},"exclusiveMaximum":{}}})", a, b + 1));
    for (int n = -1300; n <= 2800; n += 1 + static_cast<int>(random() % 9)) {
      EXPECT_EQ(can_be_written(automaton, std::to_string(n)), n >= a && n <= b) << n << " in " << a << ".." << b;
      EXPECT_EQ(can_be_written(real, fmt::format("{}.5", n)),
                n < 0 ? n - 0.5 >= a && n - 0.5 < b + 1 : n + 0.5 >= a && n + 0.5 < b + 1)
          << n << ".5 in " << a << ".." << b;
    }
    for (const int edge : {a - 1, a, b, b + 1})
      EXPECT_EQ(can_be_written(automaton, std::to_string(edge)), edge >= a && edge <= b) << edge;
  }
}

std::string error_of(std::string_view schema) {
  try {
    compiled(schema);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(JsonSchema, ErrorsNameKeywordAndPlace) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"", "schema"},
      {"{", "schema"},
      {"1", "schema#: a schema must be an object"},
      {R"({"not":{}})", "schema#: the keyword \"not\" is not supported"},
      {R"({"type":"object","properties":{"a":{"items":{"if":{}}}}})", "schema#/properties/a/items: the keyword \"if\""},
      {R"({"properties":{"a/b":{"patternProperties":{}}}})", "schema#/properties/a~1b: the keyword"},
      {R"({"type":"text"})", "is unknown"},
      {R"({"type":[]})", "names no type"},
      {R"({"enum":[]})", "\"enum\" must be a list"},
      {R"({"enum":["a"],"type":"integer"})", "no value of"},
      {R"({"enum":["a"],"minLength":1})", "beside \"enum\""},
      {R"({"type":"number","minimum":0.5})", "only whole bounds"},
      {R"({"type":"number","multipleOf":0.5})", "multipleOf"},
      // Bounds that leave nothing are named, wherever they stand, as long as the rest can do nothing without them.
      {R"({"type":"integer","minimum":5,"maximum":3})",
       R"(schema#: no value satisfies both "minimum": 5 and "maximum": 3)"},
      {R"({"type":"integer","exclusiveMinimum":3,"maximum":3})", R"("exclusiveMinimum": 3 and "maximum": 3)"},
      {R"({"type":"number","minimum":2,"exclusiveMaximum":2})", R"("minimum": 2 and "exclusiveMaximum": 2)"},
      {R"({"type":"string","minLength":5,"maxLength":3})", R"("minLength": 5 and "maxLength": 3)"},
      {R"({"type":"array","minItems":5,"maxItems":3})", R"("minItems": 5 and "maxItems": 3)"},
      {R"({"type":"object","minProperties":2,"maxProperties":1})", R"("minProperties": 2 and "maxProperties": 1)"},
      {R"({"type":"object","properties":{"a":{"type":"string","minLength":2,"maxLength":1}},"required":["a"]})",
       R"(schema#/properties/a: no value satisfies both "minLength": 2 and "maxLength": 1)"},
      {R"({"allOf":[{"type":"integer","minimum":5},{"maximum":3}]})", R"("minimum": 5 and "maximum": 3)"},
      {R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"integer","minimum":5,"maximum":3}}})",
       R"(schema#/$defs/n: no value)"},
      {R"({"type":"string","minLength":-1})", "must be a whole number"},
      {R"({"type":"string","maxLength":1000000000})", "more than 90000"},
      {R"j({"type":"string","pattern":"(?=a)"})j", "schema#/pattern: pattern"},
      {R"({"type":"string","pattern":"\\bx"})", "the escape \\b"},
      {R"({"type":"string","pattern":"a{2"})", "expected '}'"},
      {R"({"type":"string","pattern":"(a*)*"})", "repeats something that may be empty"},
      {R"({"type":"string","pattern":"((a{1000}){1000}){1000}"})", "larger than"},
      {R"({"type":"string","pattern":"^a","maxLength":3})", "together with"},
      {R"({"type":"string","format":"email"})", "\"email\" is not supported"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"type":"array","items":[{}]})", "use prefixItems"},
      {R"({"type":"array","contains":{}})", "contains"},
      {R"({"type":"array","items":false,"minItems":1})", "can never finish"},
      {R"({"type":"object","properties":{"a":{}},"minProperties":1})", "minProperties"},
      {R"({"type":"object","required":["a"],"additionalProperties":false})", "nothing satisfies"},
      {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "can never finish"},
      {R"({"$ref":"#/$defs/none"})", "there is nothing there"},
      {R"({"$ref":"http://example.com/x"})", "is not supported: only places in this schema"},
      {R"({"$ref":"#"})", "can never finish"},
      {R"({"allOf":[{"$ref":"#"}]})", "lead back to themselves"},
      {R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "no \"type\" satisfies"},
      {R"({"allOf":[{"const":1},{"const":2}]})", "cannot be joined"},
      {R"({"allOf":[{"properties":{"a":{}},"additionalProperties":false},{"properties":{"b":{}}}]})",
       "additionalProperties"},
      {R"({"anyOf":[]})", "\"anyOf\" must be a list"},
      {R"({"type":"null","nullable":true})", "nullable"},
      {std::string(200, '[') + std::string(200, ']'), "nest"},
  };
  for (const auto& [schema, expected] : wrong)
    EXPECT_NE(error_of(schema).find(expected), std::string::npos) << schema << "\n  gave: " << error_of(schema);
}

TEST(JsonSchema, HostileSchemasAreBounded) {
  std::string doubling = R"({"$ref":"#/$defs/s0","$defs":{)";
  for (int i = 0; i < 25; ++i)
    doubling += fmt::format(R"("s{0}":{{"allOf":[{{"$ref":"#/$defs/s{1}"}},{{"$ref":"#/$defs/s{1}"}}]}},)", i, i + 1);
  EXPECT_NE(error_of(doubling + R"("s25":{"type":"null"}}})").find("too many"), std::string::npos);
  std::string branching = R"({"anyOf":[{"$ref":"#/$defs/s0"}],"minLength":1,"$defs":{)";
  for (int i = 0; i < 40; ++i)
    branching += fmt::format(
        R"("s{0}":{{"maxLength":9,"anyOf":[{{"$ref":"#/$defs/s{1}","title":"a"}},{{"$ref":"#/$defs/s{1}"}}]}},)", i,
        i + 1);
  EXPECT_NE(error_of(branching + R"("s40":{"type":"string"}}})"), "no error");
  std::string long_chain = R"({"$ref":"#/$defs/s0","$defs":{)";
  for (int i = 0; i < 3000; ++i)
    long_chain += fmt::format(R"("s{}":{{"type":"array","items":{{"$ref":"#/$defs/s{}"}}}},)", i, i + 1);
  EXPECT_EQ(error_of(long_chain + R"("s3000":{"type":"null"}}})"), "no error");
  std::string wide = R"({"type":"object","properties":{)";
  for (int i = 0; i < 2000; ++i) wide += fmt::format(R"({}"p{}":{{"type":"integer"}})", i == 0 ? "" : ",", i);
  const auto automaton = compiled(wide + "}}");
  EXPECT_TRUE(can_be_written(automaton, R"({"p7":1,"p1999":2})"));
}

}  // namespace
}  // namespace lathe::text::grammar
