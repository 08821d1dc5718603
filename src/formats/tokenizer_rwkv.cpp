#include "formats/tokenizer_rwkv.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/error.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

constexpr std::size_t kMaxIds = 1u << 24;

// One escape after the backslash at text[at]; returns its length and appends its bytes. In a bytes literal \xNN is a
// byte, in a text literal a character.
std::size_t unescape_one(std::string_view text, std::size_t at, bool bytes, std::string& out) {
  const auto hex = [&](std::size_t digits) -> long {
    unsigned value = 0;
    if (at + 1 + digits > text.size()) return -1;
    const char* first = text.data() + at + 1;
    const auto [end, error] = std::from_chars(first, first + digits, value, 16);
    return error == std::errc() && end == first + digits ? static_cast<long>(value) : -1;
  };
  switch (text[at]) {
    case 'n':
      out += '\n';
      return 1;
    case 't':
      out += '\t';
      return 1;
    case 'r':
      out += '\r';
      return 1;
    case 'a':
      out += '\a';
      return 1;
    case 'b':
      out += '\b';
      return 1;
    case 'f':
      out += '\f';
      return 1;
    case 'v':
      out += '\v';
      return 1;
    case '0':
      out += '\0';
      return 1;
    case '\\':
    case '\'':
    case '"':
      out += text[at];
      return 1;
    case 'x':
      if (const long value = hex(2); value >= 0) {
        if (bytes) {
          out += static_cast<char>(value);
        } else {
          text::append_utf8(out, static_cast<char32_t>(value));
        }
        return 3;
      }
      return 0;
    case 'u':
    case 'U': {
      const std::size_t digits = text[at] == 'u' ? 4 : 8;
      const long value = bytes ? -1 : hex(digits);
      if (value < 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 0;
      text::append_utf8(out, static_cast<char32_t>(value));
      return digits + 1;
    }
    default:
      return 0;
  }
}

std::string unescape(std::string_view text, bool bytes, std::string_view where, std::size_t id) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      out += text[at++];
      continue;
    }
    const std::size_t length = at + 1 < text.size() ? unescape_one(text, at + 1, bytes, out) : 0;
    if (length == 0) fail(where, "token {} has an invalid escape: {}", id, text::quoted(text));
    at += 1 + length;
  }
  return out;
}

}  // namespace

std::string unescape_rwkv_piece(std::string_view escaped, std::string_view where, std::size_t id) {
  return unescape(escaped, true, where, id);
}

std::string escape_rwkv_piece(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\\' || c == '\'') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

text::TokenizerSpec parse_rwkv_vocabulary(const Bytes& file) {
  text::TokenizerSpec spec;
  spec.name = file.name();
  spec.type = text::ModelType::kTrie;
  spec.pieces.emplace_back("<s>");
  spec.kinds.push_back(text::TokenKind::kControl);
  std::string_view rest = file.text();
  for (std::size_t line = 1; !rest.empty(); ++line) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view row = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!row.empty() && row.back() == '\r') row.remove_suffix(1);
    if (row.empty()) continue;
    const auto malformed = [&] {
      fail(file.name(), "line {} is not \"id literal length\": {}", line, text::quoted(row));
    };
    const std::size_t first = row.find(' '), last = row.rfind(' ');
    if (first == std::string_view::npos || last <= first) malformed();
    std::size_t id = 0, length = 0;
    const auto number = [&](std::string_view digits, std::size_t& value) {
      const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (error != std::errc() || stop != digits.data() + digits.size()) malformed();
    };
    number(row.substr(0, first), id);
    number(row.substr(last + 1), length);
    std::string_view literal = row.substr(first + 1, last - first - 1);
    const bool bytes = !literal.empty() && literal[0] == 'b';
    if (bytes) literal.remove_prefix(1);
    if (literal.size() < 2 || literal.front() != literal.back() || (literal.front() != '\'' && literal.front() != '"'))
      malformed();
    std::string piece = unescape(literal.substr(1, literal.size() - 2), bytes, file.name(), id);
    if (piece.size() != length)
      fail(file.name(), "line {}: the token has {} bytes, not {}", line, piece.size(), length);
    if (id < spec.size() || id > kMaxIds || id > spec.size() + 65536)
      fail(file.name(), "line {}: id {} is out of order", line, id);
    spec.pieces.resize(id);
    spec.kinds.resize(id, text::TokenKind::kUnused);
    spec.pieces.push_back(std::move(piece));
    spec.kinds.push_back(text::TokenKind::kNormal);
  }
  spec.special.eos = 0;
  spec.special.end_of_generation = {0};
  return spec;
}

}  // namespace lathe::formats
