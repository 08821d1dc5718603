// Characters of UTF-8 texts as Python's str sees them: positions count code points, and case and classes follow the
// Unicode tables. Bytes that are not UTF-8 count as one character each and pass through unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::jinja {

// The code point at `at` and the number of bytes it takes; an invalid byte gives 0xDC00 + byte and 1 (a lone surrogate,
// which no valid UTF-8 decodes to).
struct CodePoint {
  char32_t value;
  unsigned bytes;
};
CodePoint decode_at(std::string_view text, std::size_t at);

std::size_t code_point_count(std::string_view text);
// The byte offset of code point `index` (the size of the text when it has no more than that many).
std::size_t byte_offset(std::string_view text, std::size_t index);

bool is_space(char32_t c);    // str.isspace
bool is_letter(char32_t c);   // str.isalpha
bool is_decimal(char32_t c);  // str.isdecimal
bool is_digit(char32_t c);    // str.isdigit
bool is_numeric(char32_t c);  // str.isnumeric
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_printable(char32_t c);  // str.isprintable

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);        // str.title
std::string to_capitalized(std::string_view text);  // str.capitalize
std::string swap_case(std::string_view text);

// Without the leading and trailing characters that `chars` contains (white space when `chars` is null).
std::string_view strip(std::string_view text, const std::string_view* chars, bool left, bool right);

}  // namespace lathe::jinja
