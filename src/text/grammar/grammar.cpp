#include "text/grammar/grammar.h"

#include <algorithm>

namespace lathe::text::grammar {

using Kind = Expression::Kind;

Expression literal(std::string_view bytes) {
  Expression e;
  e.bytes = bytes;
  return e;
}

Expression char_class(std::vector<CodeRange> ranges) {
  Expression e;
  e.kind = Kind::kClass;
  e.ranges = normalized(std::move(ranges));
  return e;
}

Expression rule_reference(std::uint32_t rule) {
  Expression e;
  e.kind = Kind::kRule;
  e.rule = rule;
  return e;
}

Expression sequence(std::vector<Expression> items) {
  if (items.size() == 1) return std::move(items.front());
  Expression e;
  e.kind = Kind::kSequence;
  e.items = std::move(items);
  return e;
}

Expression choice(std::vector<Expression> items) {
  if (items.size() == 1) return std::move(items.front());
  Expression e;
  e.kind = Kind::kChoice;
  e.items = std::move(items);
  return e;
}

Expression repeat(Expression item, std::uint32_t min, std::uint32_t max) {
  Expression e;
  e.kind = Kind::kRepeat;
  e.min = min;
  e.max = max;
  e.items.push_back(std::move(item));
  return e;
}

Expression optional(Expression item) { return repeat(std::move(item), 0, 1); }

std::vector<CodeRange> normalized(std::vector<CodeRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](CodeRange a, CodeRange b) { return a.first < b.first; });
  std::vector<CodeRange> merged;
  for (const CodeRange& range : ranges) {
    if (range.first > range.last) continue;
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<CodeRange> complement(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> others;
  char32_t next = 0;
  for (const CodeRange& range : normalized(std::move(ranges))) {
    if (range.first > next) others.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) others.push_back({next, kLastCodePoint});
  return others;
}

std::uint32_t Grammar::add(std::string name, std::string where, Expression body) {
  rules.push_back({std::move(name), std::move(where), std::move(body)});
  return static_cast<std::uint32_t>(rules.size() - 1);
}

}  // namespace lathe::text::grammar
