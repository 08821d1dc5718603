#include "text/grammar/json_pattern.h"

#include <optional>

#include "base/error.h"
#include "text/grammar/json_rules.h"
#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

constexpr int kMaxGroups = 50;
constexpr std::uint32_t kMaxTimes = 10'000;

class PatternParser {
 public:
  PatternParser(std::string_view pattern, const Expression& any_char, std::string_view where)
      : text_(pattern), any_char_(any_char), where_(where) {}

  Expression parse() {
    std::vector<Expression> ways;
    do {
      const bool from_start = take('^');
      Expression body = items(0);
      const bool to_end = take('$');
      std::vector<Expression> parts;
      if (!from_start) parts.push_back(repeat(any_char_, 0, kUnbounded));
      parts.push_back(std::move(body));
      if (!to_end) parts.push_back(repeat(any_char_, 0, kUnbounded));
      ways.push_back(sequence(std::move(parts)));
    } while (take('|'));
    if (at_ < text_.size()) refuse(fmt::format("{} is not supported here", text::quoted(text_.substr(at_, 1))));
    return choice(std::move(ways));
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("pattern {}, character {}: {}", text::quoted(text_), at_ + 1, what), std::string(where_),
                "use alternatives, groups, classes, repetitions, and ^ and $ at the ends");
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || peek() != c) return false;
    ++at_;
    return true;
  }
  char32_t next_char() {
    if (at_ >= text_.size()) refuse("the pattern ends too early");
    const Utf8Char c = decode_utf8(text_, at_);
    at_ += c.length;
    return c.code;
  }

  Expression items(int depth) {
    std::vector<Expression> all;
    while (at_ < text_.size() && peek() != '|' && peek() != ')' && peek() != '$') {
      all.push_back(item(depth));
      repetition(all.back());
    }
    return sequence(std::move(all));
  }

  Expression item(int depth) {
    const char c = peek();
    if (c == '(') return group(depth);
    if (c == '[') return in_json_string(bracketed());
    if (c == '^' || c == '*' || c == '+' || c == '?' || c == '{')
      refuse(fmt::format("{} is not supported here", text::quoted(text_.substr(at_, 1))));
    if (take('.')) return in_json_string(complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
    if (take('\\')) return in_json_string(escape());
    const char32_t code = next_char();
    return in_json_string({{code, code}});
  }

  Expression group(int depth) {
    if (depth == kMaxGroups) refuse("too many open parentheses");
    ++at_;
    if (take('?') && !take(':')) refuse("only (...) and (?:...) are supported");
    std::vector<Expression> ways;
    do {
      ways.push_back(items(depth + 1));
    } while (take('|'));
    if (!take(')')) refuse("expected ')'");
    return choice(std::move(ways));
  }

  void repetition(Expression& item) {
    std::uint32_t min = 0, max = kUnbounded;
    if (take('*')) {
    } else if (take('+')) {
      min = 1;
    } else if (take('?')) {
      max = 1;
    } else if (take('{')) {
      min = max = count();
      if (take(',')) max = peek() == '}' ? kUnbounded : count();
      if (!take('}')) refuse("expected '}'");
      if (min > max) refuse("a repetition whose minimum is above its maximum");
    } else {
      return;
    }
    take('?');  // a lazy repetition matches the same texts
    item = repeat(std::move(item), min, max);
  }

  std::uint32_t count() {
    if (peek() < '0' || peek() > '9') refuse("expected a number");
    std::uint32_t value = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      if (value > kMaxTimes) refuse("the repetition count is too large");
    }
    return value;
  }

  // Behind a backslash.
  std::vector<CodeRange> escape() {
    static const std::vector<CodeRange> kDigit = {{'0', '9'}};
    static const std::vector<CodeRange> kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const std::vector<CodeRange> kSpace = {
        {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
        {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    const char32_t c = next_char();
    switch (c) {
      case 'd':
        return kDigit;
      case 'D':
        return complement(kDigit);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord);
      case 's':
        return kSpace;
      case 'S':
        return complement(kSpace);
      case 'n':
        return {{'\n', '\n'}};
      case 'r':
        return {{'\r', '\r'}};
      case 't':
        return {{'\t', '\t'}};
      case 'f':
        return {{'\f', '\f'}};
      case 'v':
        return {{'\v', '\v'}};
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      default:
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
          refuse(fmt::format("the escape \\{} is not supported", static_cast<char>(c)));
        return {{c, c}};
    }
  }

  std::vector<CodeRange> hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char32_t c = next_char() | 0x20;
      if (c >= '0' && c <= '9') {
        value = value * 16 + (c - '0');
      } else if (c >= 'a' && c <= 'f') {
        value = value * 16 + (c - 'a' + 10);
      } else {
        refuse("expected a hexadecimal digit");
      }
    }
    if (value >= 0xD800 && value <= 0xDFFF) refuse("a surrogate is not a character");
    return {{value, value}};
  }

  std::vector<CodeRange> bracketed() {
    ++at_;
    const bool negated = take('^');
    std::vector<CodeRange> ranges;
    while (peek() != ']' || at_ >= text_.size()) {
      const std::vector<CodeRange> first = take('\\') ? escape() : one(next_char());
      ranges.insert(ranges.end(), first.begin(), first.end());
      if (peek() != '-' || text_.substr(at_ + 1, 1) == "]") continue;
      ++at_;
      const std::vector<CodeRange> last = take('\\') ? escape() : one(next_char());
      const bool single =
          first.size() == 1 && first[0].first == first[0].last && last.size() == 1 && last[0].first == last[0].last;
      if (!single || first[0].first > last[0].first)
        refuse("a range that ends before it begins, or not in a character");
      ranges.push_back({first[0].first, last[0].first});
    }
    ++at_;
    if (negated) ranges = complement(std::move(ranges));
    if (ranges.empty()) refuse("a class that matches nothing");
    return ranges;
  }
  static std::vector<CodeRange> one(char32_t c) { return {{c, c}}; }

  std::string_view text_;
  const Expression& any_char_;
  std::string_view where_;
  std::size_t at_ = 0;
};

}  // namespace

Expression parse_pattern(std::string_view pattern, const Expression& any_char, std::string_view where) {
  return PatternParser(pattern, any_char, where).parse();
}

}  // namespace lathe::text::grammar
