// A template's source to tokens. White space around tags is treated as chat templates expect it: the newline after a
// block tag goes (trim_blocks), blanks before a block tag at the start of a line go (lstrip_blocks), '-' strips more
// and
// '+' less.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace lathe::jinja {

enum class TokenKind : std::uint8_t {
  kText,           // output as it stands
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kName,
  kString,   // text is decoded
  kInteger,  // text is its digits
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::uint32_t at;  // byte offset in the source
  std::string text;
  std::int64_t integer = 0;
  double real = 0;
};

inline constexpr std::size_t kMaxSourceBytes = std::size_t{1} << 20;

// With line ends as "\n" and without the last one; throws when it is too long or not UTF-8.
std::string normalize_source(std::string_view source, std::string_view template_name);

// `source` must be normalized; the last token is kEnd.
std::vector<Token> tokenize(std::string_view source, std::string_view template_name);

// "chat template: line 3, column 14: problem"; the place is a byte offset, columns count characters from 1.
[[noreturn]] void fail_at(std::string_view template_name, std::string_view source, std::size_t at, std::string problem);
std::string place_of(std::string_view template_name, std::string_view source, std::size_t at);

}  // namespace lathe::jinja
