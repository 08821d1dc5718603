// Errors of templates say the line and the column: the table is (template, line, column, problem).
#include <gtest/gtest.h>

#include "text/chat_template.h"

namespace lathe::text {
namespace {

struct Case {
  const char* source;
  int line, column;
  const char* problem;
};

const Case kCases[] = {
    {"{{ x | foo }}", 1, 8, "unknown filter 'foo'"},
    {"a\n\n    {{ x | foo }}", 3, 12, "unknown filter 'foo'"},
    {"{{ x is foo }}", 1, 9, "unknown test 'foo'"},
    {"{{ x is not foo }}", 1, 13, "unknown test 'foo'"},
    {"日本 {{ x | foo }}", 1, 11, "unknown filter 'foo'"},
    {"{% if true %}\n{{ [1] | foo }}{% endif %}", 2, 10, "unknown filter 'foo'"},
    {"{{ missing.x }}", 1, 12, "'missing' is undefined"},
    {"{{ {}.x.y }}", 1, 9, "'dict object' has no attribute 'x'"},
    {"{{ none.x.y }}", 1, 11, "'None' has no attribute 'x'"},
    {"\r\n{{ [][3].y }}", 2, 10, "'list object' has no element 3"},
    {"{{ missing() }}", 1, 4, "'missing' is undefined"},
    {"{{ 'a'.nope() }}", 1, 8, "'str object' has no attribute 'nope'"},
    {"{{ 5() }}", 1, 4, "'int' object is not callable"},
    {"{{ 1 + 'a' }}", 1, 6, "unsupported operand types for +: 'int' and 'str'"},
    {"{{ 'a' + 1 }}", 1, 8, "can only concatenate str (not \"int\") to str"},
    {"{{ [1, 2 * (3 + none)] }}", 1, 15, "unsupported operand types for +: 'int' and 'NoneType'"},
    {"{{ 1 < 'a' }}", 1, 6, "'<' not supported between instances of 'int' and 'str'"},
    {"{{ 1 // 0 }}", 1, 6, "division by zero"},
    {"{{ 9223372036854775807 + 1 }}", 1, 24, "an integer leaves the range of 64 bits"},
    {"{{ 99999999999999999999 }}", 1, 4, "this integer does not fit into 64 bits"},
    {"{{ none | length }}", 1, 11, "object of type 'NoneType' has no len()"},
    {"{% for i in 5 %}{% endfor %}", 1, 13, "'int' object is not iterable"},
    {"{% for a, b in [[1]] %}{% endfor %}", 1, 8, "cannot unpack 1 values into 2 variables"},
    {"{% set x = 5 %}{% set x.y = 1 %}", 1, 23, "cannot set 'y': 'x' is no namespace"},
    {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", 1, 34, "macro 'f' takes not more than 1 argument(s)"},
    {"{% macro f(a) %}{{ a + 1 }}{% endmacro %}\n{{ f('x') }}", 1, 22, "can only concatenate str (not \"int\") to str"},
    {"{{ x | trim(1, 2, 3) }}", 1, 8, "trim takes at most 2 arguments, 4 were given"},
    {"{{ x | trim(foo=1) }}", 1, 8, "trim has no argument 'foo'"},
    {"{{ x | replace('a') }}", 1, 8, "replace needs the argument 'new'"},
    {"{{ 'x' | upper(1) }}", 1, 10, "this filter takes at most 1 arguments, 2 were given"},
    {"{{ 3 is odd(1) }}", 1, 9, "this test takes no argument"},
    {"{% if x %}", 1, 4, "this 'if' has no end: '{% endif %}' is missing"},
    {"\n{% for x in y %}{% if a %}{% endif %}", 2, 4, "this 'for' has no end: '{% endfor %}' is missing"},
    {"{% for x in y %}{% endif %}", 1, 20, "unknown tag 'endif' ('for' is open and waits for 'endfor')"},
    {"{% nope %}", 1, 4, "unknown tag 'nope'"},
    {"{% include 'x' %}", 1, 4, "'include' is not supported in chat templates"},
    {"{% break %}", 1, 4, "'break' outside of a loop"},
    {"{{ 1 + }}", 1, 8, "expected an expression, found '}}'"},
    {"{{ (1 }}", 1, 7, "unexpected '}', expected ')'"},
    {"{{ 1 ", 1, 6, "expected '}}', found the end of the template"},
    {"{{ a b }}", 1, 6, "expected '}}', found 'b'"},
    {"{{ 'abc }}", 1, 4, "this string has no end"},
    {"{{ $ }}", 1, 4, "unexpected character '$'"},
    {"x {# y", 1, 3, "this comment has no end: '#}' is missing"},
    {"x {% raw %} y", 1, 3, "this raw block has no end: '{% endraw %}' is missing"},
    {"{{ '\\xZZ' }}", 1, 5, "this escape needs 2 hexadecimal digits"},
    {"{{ '\\ud800' }}", 1, 5, "this escape is no Unicode character"},
    {"{% set none = 1 %}", 1, 8, "cannot assign to 'none'"},
    {"{{ f(a=1, 2) }}", 1, 11, "a positional argument after a named one"},
    {"{% call 5 %}{% endcall %}", 1, 9, "expected a call"},
    {"{{ x[] }}", 1, 5, "a subscript needs an expression"},
    {"{{ {[]: 1} }}", 1, 5, "unhashable type: 'list'"},
    {"{{ namespace() | tojson }}", 1, 18, "tojson: a value of type Namespace has no JSON form"},
    {"{{ '{x}'.format() }}", 1, 10, "the format's key 'x' is missing"},
    {"{{ '{' | from_json }}", 1, 10, "from_json: invalid JSON at line 1, column 2"},
};

TEST(JinjaErrors, SayLineAndColumn) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.source);
    try {
      const std::string output = ChatTemplate::parse(c.source).render_json("{}");
      ADD_FAILURE() << "no error, but: " << output;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), fmt::format("chat template: line {}, column {}", c.line, c.column));
      EXPECT_EQ(error.problem(), c.problem);
    }
  }
}

TEST(JinjaErrors, AreOneLineWithTheTemplatesName) {
  try {
    ChatTemplate::parse("\n\n  {{ x | foo }}", "tokenizer_config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "tokenizer_config.json: line 3, column 10: unknown filter 'foo'");
  }
}

}  // namespace
}  // namespace lathe::text
