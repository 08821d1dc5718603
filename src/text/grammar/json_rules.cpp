#include "text/grammar/json_rules.h"

#include <fmt/core.h>

namespace lathe::text::grammar {
namespace {

constexpr std::uint32_t kIndent = 20, kDigits = 16;

Expression digit() { return char_class({{'0', '9'}}); }
Expression one_of(std::string_view chars) {
  std::vector<CodeRange> ranges;
  for (const char c : chars) ranges.push_back({static_cast<char32_t>(c), static_cast<char32_t>(c)});
  return char_class(std::move(ranges));
}
Expression hex() { return char_class({{'0', '9'}, {'a', 'f'}, {'A', 'F'}}); }

}  // namespace

Expression JsonRules::once(std::optional<std::uint32_t>& rule, const char* name, Expression (JsonRules::*make)()) {
  if (!rule) {
    rule = grammar_.add(name, "JSON");
    Expression body = (this->*make)();
    grammar_.rules[*rule].body = std::move(body);
  }
  return rule_reference(*rule);
}

Expression JsonRules::space() { return once(space_, "space", &JsonRules::make_space); }
Expression JsonRules::make_space() {
  return choice({literal(""), literal(" "), sequence({literal("\n"), repeat(one_of(" \t"), 0, kIndent)})});
}

Expression JsonRules::string_char() { return once(string_char_, "string-char", &JsonRules::make_string_char); }
Expression JsonRules::make_string_char() {
  // Surrogates come in pairs, high before low; alone they are no character.
  const Expression high = sequence({one_of("dD"), one_of("89abAB"), hex(), hex()});
  const Expression low = sequence({one_of("dD"), one_of("cdefCDEF"), hex(), hex()});
  const Expression ordinary =
      choice({sequence({char_class({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}), hex(), hex(), hex()}),
              sequence({one_of("dD"), char_class({{'0', '7'}}), hex(), hex()})});
  const Expression escape = choice(
      {one_of("\"\\/bfnrt"), sequence({literal("u"), choice({ordinary, sequence({high, literal("\\u"), low})})})});
  return choice({char_class({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, kLastCodePoint}}), sequence({literal("\\"), escape})});
}

Expression JsonRules::string(std::uint32_t min_chars, std::uint32_t max_chars) {
  if (min_chars == 0 && max_chars == kUnbounded) return once(string_, "string", &JsonRules::make_string);
  return sequence({literal("\""), repeat(string_char(), min_chars, max_chars), literal("\"")});
}
Expression JsonRules::make_string() {
  return sequence({literal("\""), repeat(make_string_char(), 0, kUnbounded), literal("\"")});
}

Expression JsonRules::integer() { return once(integer_, "integer", &JsonRules::make_integer); }
Expression JsonRules::make_integer() { return integers_between(-kLargestInteger, kLargestInteger); }

Expression JsonRules::number() { return once(number_, "number", &JsonRules::make_number); }
Expression JsonRules::make_number() {
  return sequence({optional(literal("-")),
                   choice({literal("0"), sequence({char_class({{'1', '9'}}), repeat(digit(), 0, kDigits - 1)})}),
                   optional(sequence({literal("."), repeat(digit(), 1, kDigits)})),
                   optional(sequence({one_of("eE"), optional(one_of("+-")), repeat(digit(), 1, 2)}))});
}

Expression JsonRules::boolean() { return choice({literal("true"), literal("false")}); }
Expression JsonRules::null() { return literal("null"); }

Expression JsonRules::value() { return once(value_, "value", &JsonRules::make_value); }
Expression JsonRules::make_value() { return choice({object(), array(), string(), number(), boolean(), null()}); }

Expression JsonRules::object() { return once(object_, "object", &JsonRules::make_object); }
Expression JsonRules::make_object() { return in_braces(list(member(string(), value()), 0, kUnbounded)); }

Expression JsonRules::array() { return once(array_, "array", &JsonRules::make_array); }
Expression JsonRules::make_array() { return in_brackets(list(sequence({value(), space()}), 0, kUnbounded)); }

Expression JsonRules::in_braces(Expression members) {
  return sequence({literal("{"), space(), std::move(members), literal("}")});
}
Expression JsonRules::in_brackets(Expression items) {
  return sequence({literal("["), space(), std::move(items), literal("]")});
}
Expression JsonRules::member(Expression key, Expression value) {
  return sequence({std::move(key), space(), literal(":"), space(), std::move(value), space()});
}
Expression JsonRules::comma() { return sequence({literal(","), space()}); }

Expression JsonRules::list(const Expression& item, std::uint32_t min, std::uint32_t max) {
  if (max == 0) return literal("");
  Expression all =
      sequence({item, repeat(sequence({comma(), item}), min == 0 ? 0 : min - 1, max == kUnbounded ? max : max - 1)});
  return min == 0 ? optional(std::move(all)) : all;
}

Expression in_json_string(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> plain;
  std::vector<Expression> ways;
  for (const CodeRange& range : normalized(std::move(ranges))) {
    char32_t from = range.first;
    for (const char32_t special : {char32_t{'"'}, char32_t{'\\'}}) {
      if (special < from || special > range.last) continue;
      ways.push_back(literal(special == '"' ? "\\\"" : "\\\\"));
      if (special > from) plain.push_back({from, special - 1});
      from = special + 1;
    }
    if (from <= range.last) plain.push_back({from, range.last});
  }
  std::vector<CodeRange> unescaped;
  for (CodeRange range : plain) {
    for (; range.first < 0x20 && range.first <= range.last; ++range.first) {
      static constexpr std::string_view kControls = "\b\f\n\r\t", kLetters = "bfnrt";
      const std::size_t known = kControls.find(static_cast<char>(range.first));
      ways.push_back(literal(known != std::string_view::npos
                                 ? std::string("\\") + kLetters[known]
                                 : fmt::format("\\u{:04x}", static_cast<std::uint32_t>(range.first))));
    }
    if (range.first <= range.last) unescaped.push_back(range);
  }
  if (!unescaped.empty() || ways.empty()) ways.push_back(char_class(std::move(unescaped)));
  return choice(std::move(ways));
}

}  // namespace lathe::text::grammar
