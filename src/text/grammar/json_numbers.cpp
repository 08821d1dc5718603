// Number ranges as digits: "17 to 342" becomes 1[7-9] | [2-9][0-9] | [12][0-9]{2} | 3[0-3][0-9] | 34[0-2].
#include <algorithm>
#include <string>

#include "text/grammar/json_rules.h"

namespace lathe::text::grammar {
namespace {

constexpr std::uint32_t kFractionDigits = 16;

Expression digits(char first, char last) {
  return char_class({{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
}
Expression any_digits(std::size_t n) {
  return repeat(digits('0', '9'), static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(n));
}

// Texts of as many digits as `bound`, at least (or at most) it.
Expression from_bound(std::string_view bound, bool at_least) {
  if (bound.find_first_not_of(at_least ? '0' : '9') == std::string_view::npos) return any_digits(bound.size());
  std::vector<Expression> ways{sequence({literal(bound.substr(0, 1)), from_bound(bound.substr(1), at_least)})};
  if (at_least && bound[0] < '9')
    ways.push_back(sequence({digits(static_cast<char>(bound[0] + 1), '9'), any_digits(bound.size() - 1)}));
  if (!at_least && bound[0] > '0')
    ways.push_back(sequence({digits('0', static_cast<char>(bound[0] - 1)), any_digits(bound.size() - 1)}));
  return choice(std::move(ways));
}

// Of equal length, min <= max.
Expression same_length(std::string_view min, std::string_view max) {
  if (min.empty()) return literal("");
  if (min[0] == max[0]) return sequence({literal(min.substr(0, 1)), same_length(min.substr(1), max.substr(1))});
  std::vector<Expression> ways{sequence({literal(min.substr(0, 1)), from_bound(min.substr(1), true)}),
                               sequence({literal(max.substr(0, 1)), from_bound(max.substr(1), false)})};
  if (min[0] + 1 < max[0]) {
    ways.push_back(
        sequence({digits(static_cast<char>(min[0] + 1), static_cast<char>(max[0] - 1)), any_digits(min.size() - 1)}));
  }
  return choice(std::move(ways));
}

// 0 <= min <= max
Expression naturals_between(std::int64_t min, std::int64_t max) {
  std::vector<Expression> ways;
  const std::size_t longest = std::to_string(max).size();
  std::uint32_t whole_from = 0, whole_to = 0;  // lengths of which every number is in the range
  for (std::size_t length = std::to_string(min).size(); length <= longest; ++length) {
    const std::string smallest = length == 1 ? "0" : "1" + std::string(length - 1, '0');
    const std::string from = length == std::to_string(min).size() ? std::to_string(min) : smallest;
    const std::string to = length == longest ? std::to_string(max) : std::string(length, '9');
    if (length > 1 && from == smallest && to == std::string(length, '9')) {
      whole_to = static_cast<std::uint32_t>(length);
      if (whole_from == 0) whole_from = whole_to;
    } else {
      ways.push_back(same_length(from, to));
    }
  }
  if (whole_to > 0)
    ways.push_back(sequence({digits('1', '9'), repeat(digits('0', '9'), whole_from - 1, whole_to - 1)}));
  return choice(std::move(ways));
}

Expression fraction() { return sequence({literal("."), repeat(digits('0', '9'), 1, kFractionDigits)}); }
// One that is not zero.
Expression positive_fraction() {
  return sequence({literal("."), repeat(literal("0"), 0, kFractionDigits / 2), digits('1', '9'),
                   repeat(digits('0', '9'), 0, kFractionDigits / 2)});
}
Expression zero_fraction() { return sequence({literal("."), repeat(literal("0"), 1, kFractionDigits)}); }

// Decimals in a range with 0 <= min <= max; nothing when the range is empty.
Expression positive_numbers(std::int64_t min, std::int64_t max, bool min_excluded, bool max_excluded) {
  std::vector<Expression> ways;
  const auto whole = [](std::int64_t n) { return literal(std::to_string(n)); };
  if (min == max) {
    if (!min_excluded && !max_excluded) ways.push_back(sequence({whole(min), optional(zero_fraction())}));
    return ways.empty() ? Expression(choice({})) : choice(std::move(ways));
  }
  ways.push_back(sequence({whole(min), min_excluded ? positive_fraction() : optional(fraction())}));
  if (max - min > 1) ways.push_back(sequence({naturals_between(min + 1, max - 1), optional(fraction())}));
  if (!max_excluded) ways.push_back(sequence({whole(max), optional(zero_fraction())}));
  return choice(std::move(ways));
}

}  // namespace

Expression integers_between(std::int64_t min, std::int64_t max) {
  std::vector<Expression> ways;
  if (min < 0 && min <= max)
    ways.push_back(sequence({literal("-"), naturals_between(std::max<std::int64_t>(1, -max), -min)}));
  if (max >= 0 && min <= max) ways.push_back(naturals_between(std::max<std::int64_t>(0, min), max));
  return choice(std::move(ways));
}

Expression numbers_between(const NumberBounds& b) {
  std::vector<Expression> ways;
  if (b.min < 0 && b.min <= b.max) {
    // Mirrored; zero itself is left to the positive side.
    const bool to_zero = b.max >= 0;
    ways.push_back(sequence(
        {literal("-"), positive_numbers(to_zero ? 0 : -b.max, -b.min, to_zero || b.max_excluded, b.min_excluded)}));
  }
  if (b.max >= 0 && b.min <= b.max)
    ways.push_back(
        positive_numbers(std::max<std::int64_t>(0, b.min), b.max, b.min >= 0 && b.min_excluded, b.max_excluded));
  return choice(std::move(ways));
}

}  // namespace lathe::text::grammar
