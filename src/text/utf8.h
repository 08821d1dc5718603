// UTF-8 one character at a time, with invalid bytes told apart from characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::text {

struct Utf8Char {
  char32_t code = 0;         // U+FFFD when not valid
  std::uint32_t length = 0;  // bytes; 1 when not valid
  bool valid = false;
};

// The character at text[at], at < text.size(). Overlong forms, surrogates and values past U+10FFFF are not valid.
Utf8Char decode_multibyte(std::string_view text, std::size_t at);
inline Utf8Char decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {byte, 1, true};
  return decode_multibyte(text, at);
}

void append_utf8(std::string& out, char32_t code);

// Bytes at the start of `text` that are valid UTF-8.
std::size_t valid_utf8_prefix(std::string_view text);
inline bool is_valid_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }

// Bytes at the end of `text` (0 to 3) that begin a character whose rest may still follow.
std::size_t incomplete_utf8_suffix(std::string_view text);

std::size_t count_chars(std::string_view text);

// Every invalid byte replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

// The text as a JSON or log-safe quotation: shortened to `limit` bytes, invalid bytes and controls escaped.
std::string quoted(std::string_view text, std::size_t limit = 60);

}  // namespace lathe::text
