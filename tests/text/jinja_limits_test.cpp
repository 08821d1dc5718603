// Hostile templates end in an error: endless work, endless output, endless recursion, endless nesting. Nothing here may
// take more than moments, and nothing may take the process down.
#include <gtest/gtest.h>

#include <string>

#include "text/chat_template.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace lathe::text {
namespace {

std::string repeated(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// The problem that `source` ends with, under a quarter of the default steps (to spend a quarter of the time).
std::string error_of(const std::string& source) {
  jinja::Limits limits;
  limits.steps /= 4;
  try {
    const jinja::Template program = jinja::parse_template(source, "hostile");
    jinja::Heap heap(limits);
    jinja::Interpreter(program, heap, std::nullopt).run(jinja::Value::dict(heap));
  } catch (const Error& error) {
    return error.problem();
  }
  return "no error";
}

TEST(JinjaLimits, EndlessWork) {
  const std::string range = "range(99999)";
  EXPECT_NE(error_of("{% for a in " + range + " %}{% for b in " + range + " %}{% endfor %}{% endfor %}")
                .find("does not come to an end"),
            std::string::npos);
  EXPECT_NE(error_of("{% set l = [1] %}{% for a in " + range + " %}{% set _ = l.extend(l) %}{% endfor %}")
                .find("the template"),
            std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor "
                     "%}{{ ns.a == ns.a + [] }}"
                     "{% set m = namespace(a=[1]) %}{% for i in range(60) %}{% set m.a = [m.a, m.a] %}{% endfor %}{{ "
                     "ns.a == m.a }}")
                .find("does not come to an end"),
            std::string::npos);
  EXPECT_NE(error_of("{% set s = 'ab' * 5000000 %}{% for a in " + range + " %}{{ s.find('zz') }}{% endfor %}")
                .find("does not come to an end"),
            std::string::npos);
  EXPECT_NE(error_of("{% set s = 'a' * 9000000 %}{% set n = 'b' + 'a' * 4000000 %}{% for a in range(9) %}{{ s.rfind(n) "
                     "}}{% endfor %}")
                .find("does not come to an end"),
            std::string::npos);
}

TEST(JinjaLimits, EndlessText) {
  EXPECT_NE(error_of("{{ 'x' * 1000000000000 }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ 'x' * 9223372036854775807 }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ [0] * 1000000000000 }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}")
                .find("a text grows beyond"),
            std::string::npos);
  EXPECT_NE(error_of("{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}").find("a text grows beyond"),
            std::string::npos);
  EXPECT_NE(error_of("{{ ('a' * 100000).replace('a', 'b' * 100000) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ (['a'] * 100000) | join('b' * 100000) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ 'a'.center(99999999999) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ 'a'.zfill(99999999999) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ 'a' | indent(99999999999, true) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ '%99999999999d' % 1 }}").find("too large"), std::string::npos);
  EXPECT_NE(error_of("{{ '%999999999d' % 1 }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ '{:999999999}'.format(1) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ '%.999999f' % 1.0 }}").find("precision"), std::string::npos);
  EXPECT_NE(error_of("{{ [[[1]]] | tojson(indent=50000000) }}").find("a text grows beyond"), std::string::npos);
  EXPECT_NE(error_of("{{ ('%c' * 5000) | strftime_now }}"), "no error");
  EXPECT_NE(error_of("{{ strftime_now('%c' * 5000) }}").find("too long"), std::string::npos);
  EXPECT_NE(
      error_of(
          "{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}")
          .find("a text grows beyond"),
      std::string::npos);
}

TEST(JinjaLimits, EndlessMemory) {
  EXPECT_NE(error_of("{% set l = [] %}{% for i in range(99999) %}{% set _ = l.append('x' * 1000000 ~ i) %}{% endfor %}")
                .find("bytes of memory"),
            std::string::npos);
  EXPECT_NE(error_of("{% set l = [1] * 1000000 %}{% set m = l + l + l + l + l + l %}").find("bytes of memory"),
            std::string::npos);
  EXPECT_NE(error_of("{{ range(100001) | length }}").find("more than 100000 items"), std::string::npos);
  EXPECT_NE(error_of("{{ range(0, 9223372036854775807, 9223372036854775807) | list }}{{ range(-9223372036854775807, "
                     "9223372036854775807, 1) }}")
                .find("more than 100000 items"),
            std::string::npos);
  EXPECT_NE(error_of("{{ [1] | batch(99999999999, 0) | list }}").find("out of range"), std::string::npos);
  EXPECT_NE(error_of("{{ [1] | slice(99999999999) | list }}").find("out of range"), std::string::npos);
}

TEST(JinjaLimits, EndlessRecursion) {
  EXPECT_EQ(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "the template nests or recurses too deeply");
  EXPECT_EQ(error_of("{% macro f(x) %}{% for i in [1] %}{% if true %}{{ 1 + (f(x ~ 'a') | length) }}{% endif %}{% "
                     "endfor %}{% endmacro %}{{ f('') }}"),
            "the template nests or recurses too deeply");
  EXPECT_EQ(error_of("{% macro f(x=f()) %}{% endmacro %}{{ f() }}"), "the template nests or recurses too deeply");
  EXPECT_EQ(error_of("{% macro f() %}{% call f() %}{% endcall %}{{ caller() }}{% endmacro %}{{ f() }}"),
            "the template nests or recurses too deeply");
  EXPECT_EQ(error_of("{% for x in [[]] recursive %}{{ loop([x]) }}{% endfor %}"),
            "the template nests or recurses too deeply");
}

TEST(JinjaLimits, DeepSource) {
  for (const auto& [open, close] : {std::pair{"(", ")"},
                                    {"[", "]"},
                                    {"{1:", "}"},
                                    {"x[", "]"},
                                    {"f(", ")"},
                                    {"-", ""},
                                    {"not ", ""},
                                    {"x if y else ", ""},
                                    {"1|f(", ")"}}) {
    SCOPED_TRACE(open);
    EXPECT_NE(error_of("{{ " + repeated(open, 50000) + "1" + repeated(close, 50000) + " }}").find("nested"),
              std::string::npos);
  }
  for (const char* link : {" + 1", ".a", "[0]", "()", " | upper", " ** 1", "()|upper"}) {
    SCOPED_TRACE(link);
    EXPECT_NE(error_of("{{ 1" + repeated(link, 100000) + " }}").find("nested"), std::string::npos);
  }
  for (const char* block : {"{% if 1 %}", "{% for i in x %}", "{% macro f() %}", "{% set x %}", "{% filter upper %}",
                            "{% with %}", "{% call f() %}", "{% generation %}"}) {
    SCOPED_TRACE(block);
    EXPECT_NE(error_of(repeated(block, 30000)).find("nested"), std::string::npos);
  }
  EXPECT_NE(
      error_of("{% for " + repeated("(", 100000) + "a" + repeated(")", 100000) + " in x %}{% endfor %}").find("nested"),
      std::string::npos);
  // Long, but not deep.
  EXPECT_EQ(error_of("{{ 1" + repeated(" ~ 1", 20000) + repeated(" or 1", 20000) + " }}"), "no error");
  EXPECT_EQ(error_of("{% if 0 %}" + repeated("{% elif 0 %}", 20000) + "{% endif %}"), "no error");
  EXPECT_EQ(error_of(repeated("{{ 1 }}{# #}{% set x = 1 %}", 20000)), "no error");
}

TEST(JinjaLimits, DeepData) {
  const std::string deep =
      "{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = [ns.a] %}{% endfor %}";
  EXPECT_EQ(error_of(deep), "no error");  // also when it is destroyed
  EXPECT_NE(error_of(deep + "{{ ns.a }}").find("nested deeper"), std::string::npos);
  EXPECT_NE(error_of(deep + "{{ ns.a | tojson }}").find("nested deeper"), std::string::npos);
  EXPECT_NE(error_of(deep + deep + "{{ ns.a == [ns.a] }}").find("nested deeper"), std::string::npos);
  // From the outside in, where no container's own depth would give it away.
  EXPECT_EQ(error_of("{% set root = [] %}{% set ns = namespace(at=root) %}{% for i in range(99999) %}{% set n = [] "
                     "%}{% set _ = ns.at.append(n) %}"
                     "{% set ns.at = n %}{% endfor %}{% set ns.at = none %}"),
            "no error");
  EXPECT_NE(error_of("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}").find("nested deeper"), std::string::npos);
  EXPECT_NE(error_of("{% set d = {} %}{% set _ = d.update({'d': d}) %}{{ d | tojson }}").find("nested deeper"),
            std::string::npos);
}

// Cycles die with the rendering: a heap reports what is alive by refusing to exceed its limit, so many renderings of a
// cyclic template on heaps of their own must each see the same room.
TEST(JinjaLimits, CyclesAreFreed) {
  const auto program = jinja::parse_template(
      "{% set l = ['x' * 1000] %}{% set _ = l.append(l) %}{% macro f() %}{{ l | length }}{% endmacro %}{{ f() }}{% set "
      "ns = namespace() %}{% set ns.me = ns %}",
      "cycle");
  for (int i = 0; i < 200; ++i) {
    jinja::Heap heap{jinja::Limits{}};
    EXPECT_EQ(jinja::Interpreter(program, heap, std::nullopt).run(jinja::Value::dict(heap)), "2");
  }
}

TEST(JinjaLimits, HoldBehindThePublicInterface) {
  EXPECT_THROW(ChatTemplate::parse("{{ 'x' * 100000000 }}").render({}), Error);
  EXPECT_THROW(ChatTemplate::parse("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").render({}), Error);
}

TEST(JinjaLimits, AreSettable) {
  jinja::Limits limits;
  limits.steps = 100;
  const auto program = jinja::parse_template("{% for i in range(1000) %}{{ i }}{% endfor %}", "small");
  jinja::Heap heap(limits);
  EXPECT_THROW(jinja::Interpreter(program, heap, std::nullopt).run(jinja::Value::dict(heap)), Error);
}

}  // namespace
}  // namespace lathe::text
