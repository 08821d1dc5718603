// A context-free grammar over characters, as data: what the GBNF parser and the JSON Schema translator make and what
// Automaton is compiled from.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::text::grammar {

inline constexpr char32_t kLastCodePoint = 0x10FFFF;
inline constexpr std::uint32_t kUnbounded = std::numeric_limits<std::uint32_t>::max();

struct CodeRange {
  char32_t first, last;  // both included
  bool operator==(const CodeRange&) const = default;
};

struct Expression {
  enum class Kind : std::uint8_t {
    kLiteral,   // `bytes`, UTF-8; empty matches the empty text
    kClass,     // one character out of `ranges`
    kRule,      // whatever rule number `rule` matches
    kSequence,  // `items` one after the other
    kChoice,    // one of `items`; none: matches nothing at all
    kRepeat,    // items[0], `min` to `max` times
  };
  Kind kind = Kind::kLiteral;
  std::string bytes;
  std::vector<CodeRange> ranges;
  std::uint32_t rule = 0, min = 0, max = 0;
  std::vector<Expression> items;
};

Expression literal(std::string_view bytes);
Expression char_class(std::vector<CodeRange> ranges);
Expression rule_reference(std::uint32_t rule);
Expression sequence(std::vector<Expression> items);
Expression choice(std::vector<Expression> items);
Expression repeat(Expression item, std::uint32_t min, std::uint32_t max);
Expression optional(Expression item);

// Sorted, disjoint, merged; `complement` is every other code point.
std::vector<CodeRange> normalized(std::vector<CodeRange> ranges);
std::vector<CodeRange> complement(std::vector<CodeRange> ranges);

struct Rule {
  std::string name;   // for messages
  std::string where;  // "grammar:3:7" or "schema#/properties/a"
  Expression body;
};

struct Grammar {
  std::vector<Rule> rules;
  std::uint32_t root = 0;

  std::uint32_t add(std::string name, std::string where, Expression body = {});
};

}  // namespace lathe::text::grammar
