// The pieces JSON text is made of, as grammar expressions. White space is at most one space, or a line end and up to 20
// spaces; numbers have bounded digits: nothing here can go on for ever but strings, arrays and objects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/grammar/grammar.h"

namespace lathe::text::grammar {

// Adds the rules it is asked for to a grammar, each once.
class JsonRules {
 public:
  explicit JsonRules(Grammar& grammar) : grammar_(grammar) {}

  Expression space();
  Expression string_char();  // one character of a string, escaped or not
  Expression string(std::uint32_t min_chars = 0, std::uint32_t max_chars = kUnbounded);
  Expression integer();  // up to 18 digits
  Expression number();   // up to 16 digits before and after the point, exponents up to 99
  Expression boolean();
  Expression null();
  Expression value();  // anything
  Expression object();
  Expression array();
  // "{" members "}" and "[" items "]", where members and items end with their own space.
  Expression in_braces(Expression members);
  Expression in_brackets(Expression items);
  // key ":" value and the space behind it; `key` has its quotes.
  Expression member(Expression key, Expression value);
  // item ("," item)*, `min` to `max` of them; `item` ends with its space.
  Expression list(const Expression& item, std::uint32_t min, std::uint32_t max);
  Expression comma();

 private:
  Expression once(std::optional<std::uint32_t>& rule, const char* name, Expression (JsonRules::*make)());
  Expression make_space();
  Expression make_string_char();
  Expression make_string();
  Expression make_integer();
  Expression make_number();
  Expression make_value();
  Expression make_object();
  Expression make_array();

  Grammar& grammar_;
  std::optional<std::uint32_t> space_, string_char_, string_, integer_, number_, value_, object_, array_;
};

// Characters out of `ranges` as they stand in a JSON string: what must be escaped is.
Expression in_json_string(std::vector<CodeRange> ranges);

// Whole numbers from `min` to `max`, no leading zeros; without a bound up to 18 digits. Bounds have 18 digits at most.
inline constexpr std::int64_t kLargestInteger = 999'999'999'999'999'999;
Expression integers_between(std::int64_t min, std::int64_t max);

// Decimal numbers without exponent between whole bounds, up to 16 digits behind the point.
struct NumberBounds {
  std::int64_t min = -kLargestInteger, max = kLargestInteger;
  bool min_excluded = false, max_excluded = false;
};
Expression numbers_between(const NumberBounds& bounds);

}  // namespace lathe::text::grammar
