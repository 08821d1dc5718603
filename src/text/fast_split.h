// Hand-written equivalents of the regular expressions that most byte-level models cut words with. They read each
// character once; the tests hold them against the expressions themselves.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace lathe::text {

// What the known expressions differ in.
struct WordPattern {
  enum class Style { kGpt2, kLlama3 } style = Style::kGpt2;
  // kLlama3 only:
  bool contractions = true;  // (?i:'s|'t|'re|'ve|'m|'ll|'d)
  bool marks = false;        // combining marks count as letters
  unsigned max_digits = 3;   // \p{N}{1,max}; 0: any number
  bool operator==(const WordPattern&) const = default;
};

// The pattern a regular expression spells, when it is one of the known ones.
std::optional<WordPattern> recognize_pattern(std::string_view regex);

// Appends the words of `text` (valid UTF-8) in order; together they are the whole text.
void split_words(std::string_view text, const WordPattern& pattern, std::vector<std::string_view>& words);

}  // namespace lathe::text
