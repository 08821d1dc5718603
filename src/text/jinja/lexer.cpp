#include "text/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace lathe::jinja {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

bool name_start(char32_t c) { return c == '_' || (c < 0x80 ? ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') : is_letter(c)); }
bool name_part(char32_t c) { return name_start(c) || (c < 0x80 ? (c >= '0' && c <= '9') : is_numeric(c)); }

int hex_value(char c) {
  if (digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
}

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view name) : source_(source), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_then_tag();
    emit(TokenKind::kEnd, source_.size());
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(std::size_t at, std::string problem) const {
    fail_at(name_, source_, at, std::move(problem));
  }

  void emit(TokenKind kind, std::size_t at, std::string text = {}) {
    tokens_.push_back({kind, static_cast<std::uint32_t>(at), std::move(text)});
  }

  bool looking_at(std::string_view text, std::size_t at) const { return source_.substr(at).starts_with(text); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  std::size_t skip_space(std::size_t at) const {
    while (at < source_.size()) {
      const CodePoint c = decode_at(source_, at);
      if (!is_space(c.value)) break;
      at += c.bytes;
    }
    return at;
  }

  // The next "{{", "{%" or "{#" from `at` on.
  std::size_t next_tag(std::size_t at) const {
    for (; (at = source_.find('{', at)) != std::string_view::npos; ++at) {
      if (at + 1 < source_.size() && (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    }
    return source_.size();
  }

  // Emits the text [begin, end) that stands before a tag with this white space sign ('-', '+' or 0).
  void emit_text(std::size_t begin, std::size_t end, char sign, bool is_block) {
    std::string_view text = source_.substr(begin, end - begin);
    if (sign == '-') {
      text = strip(text, nullptr, false, true);
    } else if (sign != '+' && is_block) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_starting_) && text.find_first_not_of(" \t", line) == std::string_view::npos) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) emit(TokenKind::kText, begin, std::string(text));
  }

  void moved_to(std::size_t at) {
    line_starting_ = at > 0 && source_[at - 1] == '\n';
    at_ = at;
  }

  char sign_at(std::size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  void text_then_tag() {
    const std::size_t begin = at_, tag = next_tag(at_);
    if (tag == source_.size()) {
      emit(TokenKind::kText, begin, std::string(source_.substr(begin)));
      at_ = tag;
      return;
    }
    const char kind = source_[tag + 1], sign = sign_at(tag + 2);
    emit_text(begin, tag, sign, kind != '{');
    const std::size_t inside = tag + 2 + (sign != '\0' ? 1 : 0);
    if (kind == '#') return comment(tag, inside);
    if (kind == '%' && raw(tag, inside)) return;
    emit(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, tag);
    moved_to(inside);
    code(kind == '{');
  }

  // The offset behind an end tag at `at` ("-%}" and white space, "+%}", "%}" and a newline), or 0 when there is none.
  std::size_t after_end(std::size_t at, std::string_view end, bool trims_newline) const {
    if (looking_at(end, at)) {
      at += end.size();
      return trims_newline && looking_at("\n", at) ? at + 1 : at;
    }
    const char sign = sign_at(at);
    if (sign == '\0' || !looking_at(end, at + 1)) return 0;
    if (sign == '-') return skip_space(at + 1 + end.size());
    return trims_newline ? at + 1 + end.size() : 0;
  }

  void comment(std::size_t tag, std::size_t inside) {
    const std::size_t close = source_.find("#}", inside);
    if (close == std::string_view::npos) error(tag, "this comment has no end: '#}' is missing");
    const bool sign = close > inside && sign_at(close - 1) != '\0';
    moved_to(after_end(sign ? close - 1 : close, "#}", true));
  }

  bool raw(std::size_t tag, std::size_t inside) {
    std::size_t at = skip_space(inside);
    if (!looking_at("raw", at)) return false;
    at = skip_space(at + 3);
    const std::size_t content = looking_at("+%}", at) ? 0 : after_end(at, "%}", false);
    if (content == 0) return false;
    moved_to(content);
    for (std::size_t end = content; (end = source_.find("{%", end)) != std::string_view::npos; ++end) {
      const char sign = sign_at(end + 2);
      at = skip_space(end + 2 + (sign != '\0' ? 1 : 0));
      if (!looking_at("endraw", at)) continue;
      const std::size_t after = after_end(skip_space(at + 6), "%}", true);
      if (after == 0) continue;
      emit_text(content, end, sign, true);
      moved_to(after);
      return true;
    }
    error(tag, "this raw block has no end: '{% endraw %}' is missing");
  }

  // The tokens of one tag, up to and with its end.
  void code(bool is_variable) {
    std::string open;  // brackets
    while (true) {
      at_ = skip_space(at_);
      if (at_ >= source_.size()) return;  // the parser knows what is missing
      if (open.empty()) {
        const std::size_t after = after_end(at_, is_variable ? "}}" : "%}", !is_variable);
        if (after != 0) {
          emit(is_variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, at_);
          return moved_to(after);
        }
      }
      const char c = peek();
      if (digit(c)) {
        number();
      } else if (c == '"' || c == '\'') {
        string(c);
      } else if (name_start(decode_at(source_, at_).value)) {
        name();
      } else {
        op(open);
      }
    }
  }

  void name() {
    const std::size_t begin = at_;
    while (at_ < source_.size()) {
      const CodePoint c = decode_at(source_, at_);
      if (!name_part(c.value)) break;
      at_ += c.bytes;
    }
    emit(TokenKind::kName, begin, std::string(source_.substr(begin, at_ - begin)));
  }

  void op(std::string& open) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    const std::size_t begin = at_;
    for (std::string_view two : kTwo) {
      if (looking_at(two, at_)) {
        at_ += 2;
        return emit(TokenKind::kOperator, begin, std::string(two));
      }
    }
    const char c = peek();
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos || c == '\0') {
      error(at_, "unexpected character '" + std::string(source_.substr(at_, decode_at(source_, at_).bytes)) + "'");
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) error(at_, std::string("unexpected '") + c + "'");
      if (open.back() != c) error(at_, std::string("unexpected '") + c + "', expected '" + open.back() + "'");
      open.pop_back();
    }
    ++at_;
    emit(TokenKind::kOperator, begin, std::string(1, c));
  }

  // Digits with single underscores between them, appended to `out`.
  void digits(std::string& out) {
    while (digit(peek()) || (peek() == '_' && digit(peek(1)))) {
      if (peek() != '_') out += peek();
      ++at_;
    }
  }

  bool exponent_follows() const {
    if ((peek() | 0x20) != 'e') return false;
    return digit(peek(1)) || ((peek(1) == '+' || peek(1) == '-') && digit(peek(2)));
  }

  void number() {
    const std::size_t begin = at_;
    const int base = peek() != '0'             ? 10
                     : (peek(1) | 0x20) == 'x' ? 16
                     : (peek(1) | 0x20) == 'o' ? 8
                     : (peek(1) | 0x20) == 'b' ? 2
                                               : 10;
    std::string text;
    if (base != 10 && hex_value(peek(2)) < base) {
      at_ += 2;
      while (hex_value(peek()) < base || (peek() == '_' && hex_value(peek(1)) < base)) {
        if (peek() != '_') text += peek();
        ++at_;
      }
      return integer(begin, text, base);
    }
    digits(text);
    bool is_float = false;
    if (begin == 0 || source_[begin - 1] != '.') {  // "items.0.5" is two subscripts
      if (peek() == '.' && digit(peek(1))) {
        is_float = true;
        text += '.';
        ++at_;
        digits(text);
      }
      if (exponent_follows()) {
        is_float = true;
        text += 'e';
        ++at_;
        if (!digit(peek())) text += source_[at_++];
        digits(text);
      }
    }
    if (!is_float) return integer(begin, text, 10);
    emit(TokenKind::kFloat, begin, text);
    double& real = tokens_.back().real;
    if (std::from_chars(text.data(), text.data() + text.size(), real).ec != std::errc())
      error(begin, "this number is out of range");
  }

  void integer(std::size_t begin, const std::string& text, int base) {
    emit(TokenKind::kInteger, begin, text);
    std::int64_t& value = tokens_.back().integer;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (problem != std::errc()) error(begin, "this integer does not fit into 64 bits");
  }

  void string(char quote) {
    const std::size_t begin = at_++;
    std::string text;
    while (true) {
      if (at_ >= source_.size()) error(begin, "this string has no end");
      const char c = source_[at_];
      if (c == quote) break;
      if (c == '\\') {
        escape(text, begin);
      } else {
        text += c;
        ++at_;
      }
    }
    ++at_;
    emit(TokenKind::kString, begin, std::move(text));
  }

  // A Python escape; one that Python does not know keeps its backslash.
  void escape(std::string& text, std::size_t begin) {
    const std::size_t start = at_++;
    if (at_ >= source_.size()) error(begin, "this string has no end");
    const char c = source_[at_++];
    static constexpr std::string_view kPlain = "\\'\"abfnrtv", kMeaning = "\\'\"\a\b\f\n\r\t\v";
    if (const std::size_t i = kPlain.find(c); i != std::string_view::npos) {
      text += kMeaning[i];
    } else if (c == '\n') {
      return;
    } else if (c >= '0' && c <= '7') {
      char32_t value = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i)
        value = value * 8 + static_cast<char32_t>(source_[at_++] - '0');
      text::append_utf8(text, value);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      text::append_utf8(text, hex_escape(c == 'x' ? 2 : c == 'u' ? 4 : 8, start));
    } else if (c == 'N') {
      error(start, "named characters (\\N{...}) are not supported");
    } else {
      text += source_.substr(start, 1 + decode_at(source_, at_ - 1).bytes);
      at_ = start + 1 + decode_at(source_, start + 1).bytes;
    }
  }

  char32_t hex_escape(int count, std::size_t start) {
    char32_t value = 0;
    for (int i = 0; i < count; ++i) {
      const int nibble = hex_value(peek());
      if (nibble > 15) error(start, "this escape needs " + std::to_string(count) + " hexadecimal digits");
      value = value * 16 + static_cast<char32_t>(nibble);
      ++at_;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) error(start, "this escape is no Unicode character");
    return value;
  }

  std::string_view source_, name_;
  std::size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_source(std::string_view source, std::string_view name) {
  if (source.size() > kMaxSourceBytes) {
    fail(name, "the template has {} bytes; more than {} are not accepted", source.size(), kMaxSourceBytes);
  }
  if (!text::is_valid_utf8(source)) fail(name, "the template is not UTF-8 text");
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<Token> tokenize(std::string_view source, std::string_view template_name) {
  return Lexer(source, template_name).run();
}

std::string place_of(std::string_view template_name, std::string_view source, std::size_t at) {
  const std::string_view before = source.substr(0, std::min(at, source.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t column = 1 + code_point_count(before.substr(newline == std::string_view::npos ? 0 : newline + 1));
  return fmt::format("{}: line {}, column {}", template_name, line, column);
}

void fail_at(std::string_view template_name, std::string_view source, std::size_t at, std::string problem) {
  throw Error(std::move(problem), place_of(template_name, source, at));
}

}  // namespace lathe::jinja
