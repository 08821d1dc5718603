#include "text/grammar/gbnf.h"

#include <map>
#include <optional>

#include "base/error.h"
#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

constexpr std::size_t kMaxText = std::size_t{1} << 20;  // bytes of grammar text
constexpr std::uint32_t kMaxCount = 100'000;            // in {m,n}
constexpr int kMaxNesting = 100;                        // of parentheses

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<std::uint32_t> hex_digit(char c) {
  if (is_digit(c)) return static_cast<std::uint32_t>(c - '0');
  const char lower = static_cast<char>(c | 0x20);
  if (lower >= 'a' && lower <= 'f') return static_cast<std::uint32_t>(lower - 'a' + 10);
  return std::nullopt;
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  Grammar parse() {
    if (text_.size() > kMaxText) {
      throw Error(fmt::format("the grammar has {} bytes, at most {} are read", text_.size(), kMaxText),
                  std::string(name_));
    }
    const std::size_t good = valid_utf8_prefix(text_);
    if (good != text_.size()) fail_at(good, "the text is not UTF-8");
    for (skip(true); at_ < text_.size(); skip(true)) rule();
    check_defined();
    return std::move(grammar_);
  }

 private:
  struct Name {
    std::uint32_t rule = 0;
    std::size_t first_use = 0;
    bool defined = false;
  };

  // Places are asked for in nearly rising order, so counting goes on from the last one.
  std::string place(std::size_t offset) {
    if (offset < counted_.offset) counted_ = {};
    for (; counted_.offset < offset && counted_.offset < text_.size(); ++counted_.offset) {
      if (text_[counted_.offset] == '\n') {
        ++counted_.line;
        counted_.column = 1;
      } else if ((static_cast<unsigned char>(text_[counted_.offset]) & 0xC0) != 0x80) {
        ++counted_.column;
      }
    }
    return fmt::format("{}:{}:{}", name_, counted_.line, counted_.column);
  }
  [[noreturn]] void fail_at(std::size_t offset, std::string what) { throw Error(std::move(what), place(offset)); }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool ended() const { return at_ >= text_.size(); }
  std::string found() const {
    if (ended()) return "the end of the grammar";
    if (peek() == '\n' || peek() == '\r') return "the end of the line";
    return text::quoted(text_.substr(at_, decode_utf8(text_, at_).length));
  }
  // White space and comments; line ends only when `lines`.
  void skip(bool lines) {
    while (!ended()) {
      const char c = peek();
      if (c == '#') {
        while (!ended() && peek() != '\n' && peek() != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        break;
      }
    }
  }

  std::string_view rule_name() {
    const std::size_t begin = at_;
    while (!ended() && is_name_char(peek())) ++at_;
    if (at_ == begin) fail_at(begin, fmt::format("expected the name of a rule, found {}", found()));
    return text_.substr(begin, at_ - begin);
  }

  Name& named(std::string_view name, std::size_t offset) {
    const auto [it, fresh] = names_.try_emplace(std::string(name));
    if (fresh) {
      it->second.rule = grammar_.add(std::string(name), place(offset));
      it->second.first_use = offset;
    }
    return it->second;
  }

  void rule() {
    const std::size_t begin = at_;
    const std::string_view name = rule_name();
    Name& entry = named(name, begin);
    if (entry.defined) fail_at(begin, fmt::format("rule \"{}\" is defined twice", name));
    entry.defined = true;
    const std::uint32_t number = entry.rule;
    grammar_.rules[number].where = place(begin);
    skip(false);
    if (text_.substr(at_, 3) != "::=") {
      fail_at(at_, fmt::format("expected ::= after the rule's name \"{}\", found {}", name, found()));
    }
    at_ += 3;
    skip(true);
    Expression body = alternatives(0);
    if (!ended() && peek() != '\n' && peek() != '\r') {
      fail_at(at_, fmt::format("expected an item, '|' or the end of the line, found {}", found()));
    }
    grammar_.rules[number].body = std::move(body);
  }

  // depth > 0: inside parentheses, where line ends are white space.
  Expression alternatives(int depth) {
    std::vector<Expression> items;
    items.push_back(items_in_order(depth));
    while (next_is_bar(depth)) {
      ++at_;
      skip(true);
      items.push_back(items_in_order(depth));
    }
    return choice(std::move(items));
  }

  // A '|' that starts a later line still belongs to the rule.
  bool next_is_bar(int depth) {
    const std::size_t before = at_;
    skip(true);
    if (peek() == '|') return true;
    if (depth == 0) at_ = before;
    return false;
  }

  Expression items_in_order(int depth) {
    std::vector<Expression> items;
    while (true) {
      const std::size_t begin = at_;
      const char c = peek();
      if (c == '"') {
        items.push_back(quoted_literal());
      } else if (c == '[') {
        items.push_back(bracketed_class());
      } else if (c == '.') {
        ++at_;
        items.push_back(char_class({{0, kLastCodePoint}}));
      } else if (c == '(') {
        if (depth == kMaxNesting) fail_at(begin, fmt::format("more than {} open parentheses", kMaxNesting));
        ++at_;
        skip(true);
        items.push_back(alternatives(depth + 1));
        skip(true);
        if (peek() != ')') fail_at(begin, fmt::format("this '(' is not closed: found {}", found()));
        ++at_;
      } else if (!ended() && is_name_char(c)) {
        const std::string_view name = rule_name();
        items.push_back(rule_reference(named(name, begin).rule));
      } else {
        break;
      }
      repetition(items.back());
      skip(depth > 0);
    }
    return sequence(std::move(items));
  }

  // * + ? {m} {m,} {m,n} {,n} directly behind an item, or after spaces.
  void repetition(Expression& item) {
    const std::size_t before = at_;
    skip(false);
    const char c = peek();
    if (c == '*' || c == '+' || c == '?') {
      ++at_;
      item = repeat(std::move(item), c == '+' ? 1 : 0, c == '?' ? 1 : kUnbounded);
    } else if (c == '{') {
      const std::size_t begin = at_++;
      std::uint32_t min = 0, max = kUnbounded;
      skip(false);
      const bool has_min = is_digit(peek());
      if (has_min) min = max = count();
      skip(false);
      if (peek() == ',') {
        ++at_;
        skip(false);
        max = is_digit(peek()) ? count() : kUnbounded;
        skip(false);
      } else if (!has_min) {
        fail_at(at_, fmt::format("expected a number or ',' in {{...}}, found {}", found()));
      }
      if (peek() != '}') fail_at(at_, fmt::format("expected '}}' to end the repetition, found {}", found()));
      ++at_;
      if (min > max) fail_at(begin, fmt::format("a repetition of at least {} and at most {} times", min, max));
      item = repeat(std::move(item), min, max);
    } else {
      at_ = before;
      return;
    }
    const std::size_t after = at_;
    skip(false);
    if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{')
      fail_at(at_, "a second repetition of the same item; put parentheses around the first");
    at_ = after;
  }

  std::uint32_t count() {
    const std::size_t begin = at_;
    std::uint32_t value = 0;
    for (; is_digit(peek()); ++at_) {
      value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      if (value > kMaxCount) fail_at(begin, fmt::format("a repetition of more than {} times", kMaxCount));
    }
    return value;
  }

  // One character of a literal or class, escapes resolved. `open` is where the literal began.
  char32_t character(std::size_t open, std::string_view what) {
    if (ended() || peek() == '\n' || peek() == '\r')
      fail_at(open, fmt::format("this {} is not closed before the end of the line", what));
    if (peek() != '\\') {
      const Utf8Char c = decode_utf8(text_, at_);
      at_ += c.length;
      return c.code;
    }
    const std::size_t begin = at_++;
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return hex(begin, 2);
      case 'u':
        return hex(begin, 4);
      case 'U':
        return hex(begin, 8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return static_cast<char32_t>(c);
      default:
        fail_at(begin, "unknown escape; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\/ \\xHH \\uHHHH \\UHHHHHHHH");
    }
  }

  char32_t hex(std::size_t begin, int digits) {
    std::uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const auto digit = hex_digit(peek());
      if (!digit) fail_at(begin, fmt::format("this escape needs {} hexadecimal digits", digits));
      value = value << 4 | *digit;
    }
    if (value > kLastCodePoint || (value >= 0xD800 && value <= 0xDFFF))
      fail_at(begin, fmt::format("U+{:04X} is not a character", value));
    return value;
  }

  Expression quoted_literal() {
    const std::size_t open = at_++;
    std::string bytes;
    while (peek() != '"' || ended()) append_utf8(bytes, character(open, "literal"));
    ++at_;
    return literal(bytes);
  }

  Expression bracketed_class() {
    const std::size_t open = at_++;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    std::vector<CodeRange> ranges;
    while (peek() != ']' || ended()) {
      const std::size_t begin = at_;
      const char32_t first = character(open, "character class");
      char32_t last = first;
      if (peek() == '-' && text_.substr(at_ + 1, 1) != "]") {
        ++at_;
        last = character(open, "character class");
      }
      if (first > last) fail_at(begin, "a range that ends before it begins");
      ranges.push_back({first, last});
    }
    ++at_;
    if (ranges.empty() && !negated) fail_at(open, "an empty character class matches nothing");
    if (negated) ranges = complement(std::move(ranges));
    Expression e = char_class(std::move(ranges));
    if (e.ranges.empty()) fail_at(open, "this character class matches nothing");
    return e;
  }

  void check_defined() {
    const Name* missing = nullptr;
    std::string_view missing_name;
    for (const auto& [name, entry] : names_) {
      if (!entry.defined && (missing == nullptr || entry.first_use < missing->first_use)) {
        missing = &entry;
        missing_name = name;
      }
    }
    if (missing != nullptr) fail_at(missing->first_use, fmt::format("rule \"{}\" is not defined", missing_name));
    const auto root = names_.find("root");
    if (root == names_.end())
      throw Error("there is no rule called root", std::string(name_), "matching starts there: root ::= ...");
    grammar_.root = root->second.rule;
  }

  std::string_view text_, name_;
  std::size_t at_ = 0;
  struct {
    std::size_t offset = 0, line = 1, column = 1;
  } counted_;
  Grammar grammar_;
  std::map<std::string, Name> names_;
};

}  // namespace

Grammar parse_gbnf(std::string_view text, std::string_view name) { return Parser(text, name).parse(); }

}  // namespace lathe::text::grammar
