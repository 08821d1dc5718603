// Properties of Unicode characters and the four normalization forms, on utf8proc's tables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::text {

// White_Space, as regular expressions' \s means it.
bool is_white_space(char32_t code);
bool is_letter(char32_t code);             // general category L*
bool is_number(char32_t code);             // N*
bool is_mark(char32_t code);               // M*
bool is_nonspacing_mark(char32_t code);    // Mn
bool is_punctuation(char32_t code);        // P*
bool is_word_char(char32_t code);          // letters, marks, decimal digits, connectors: \w
bool is_control_or_format(char32_t code);  // Cc, Cf, Co, Cs
// The blocks of Chinese characters that BERT sets apart.
bool is_cjk(char32_t code);

// The letter, number and white-space bits of a character in one look-up.
enum CharClass : std::uint8_t { kOtherChar = 0, kLetterChar = 1, kNumberChar = 2, kSpaceChar = 4, kMarkChar = 8 };
CharClass char_class(char32_t code);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Valid UTF-8 in, valid UTF-8 out; linear time (a run of more than 1,000 combining marks is not reordered as a whole).
std::string normalize(std::string_view text, NormalForm form);

// The first extended grapheme cluster of a text that is not empty; an invalid byte stands alone.
std::string_view first_grapheme(std::string_view text);

// Cells of a terminal that a character takes: 0 for combining marks and controls, 2 for wide ones.
int cell_width(char32_t code);

// Full lower-casing without context.
std::string to_lower(std::string_view text);

}  // namespace lathe::text
