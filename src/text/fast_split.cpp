#include "text/fast_split.h"

#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

struct Char {
  char32_t code = 0;
  std::uint32_t length = 0;  // 0 at the end of the text
  CharClass kind = kOtherChar;
};

class Scanner {
 public:
  Scanner(std::string_view text, std::vector<std::string_view>& words) : text_(text), words_(words) {}

  Char at(std::size_t i) const {
    if (i >= text_.size()) return {};
    const Utf8Char c = decode_utf8(text_, i);
    return {c.code, c.length, char_class(c.code)};
  }

  void emit(std::size_t end) {
    words_.push_back(text_.substr(position_, end - position_));
    position_ = end;
  }

  // End of the run of characters from `i` whose class is in `classes`.
  std::size_t run(std::size_t i, unsigned classes) const {
    for (Char c = at(i); c.length != 0 && (c.kind & classes) != 0; c = at(i)) i += c.length;
    return i;
  }
  // The same for characters that are neither space nor in `classes`.
  std::size_t run_of_others(std::size_t i, unsigned classes) const {
    for (Char c = at(i); c.length != 0 && (c.kind & (classes | kSpaceChar)) == 0; c = at(i)) i += c.length;
    return i;
  }

  // Bytes of 's 't 're 've 'm 'll 'd at `i` (which is the apostrophe), or 0.
  std::size_t contraction(std::size_t i, bool ignore_case) const {
    if (i + 1 >= text_.size()) return 0;
    const auto lower = [&](std::size_t j) -> char {
      if (j >= text_.size()) return '\0';
      const char c = text_[j];
      return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    switch (lower(i + 1)) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return 2;
      case 'r':
      case 'v':
        return lower(i + 2) == 'e' ? 3 : 0;
      case 'l':
        return lower(i + 2) == 'l' ? 3 : 0;
      default:
        break;
    }
    // U+017F (long s) is an s when case is ignored.
    return ignore_case && text_.substr(i + 1, 2) == "\u017f" ? 3 : 0;
  }

  // \s+(?!\S)|\s+ from here; `last_newline_wins` puts \s*[\r\n]+ before it.
  void emit_space(bool last_newline_wins) {
    std::size_t i = position_, last_start = position_, after_newline = 0;
    for (Char c = at(i); c.length != 0 && c.kind == kSpaceChar; c = at(i)) {
      last_start = i;
      i += c.length;
      if (c.code == '\n' || c.code == '\r') after_newline = i;
    }
    if (last_newline_wins && after_newline > 0) return emit(after_newline);
    emit(i == text_.size() || last_start == position_ ? i : last_start);
  }

  std::string_view text() const { return text_; }
  std::size_t position() const { return position_; }
  bool done() const { return position_ >= text_.size(); }

 private:
  std::string_view text_;
  std::vector<std::string_view>& words_;
  std::size_t position_ = 0;
};

void split_gpt2(Scanner& scan) {
  while (!scan.done()) {
    const std::size_t start = scan.position();
    Char c = scan.at(start);
    if (c.code == '\'') {
      if (const std::size_t n = scan.contraction(start, false); n > 0) {
        scan.emit(start + n);
        continue;
      }
    }
    std::size_t i = start;
    if (c.code == ' ') {
      i += 1;
      c = scan.at(i);
    }
    if (c.length == 0 || c.kind == kSpaceChar) {
      scan.emit_space(false);
    } else if (c.kind == kLetterChar) {
      scan.emit(scan.run(i + c.length, kLetterChar));
    } else if (c.kind == kNumberChar) {
      scan.emit(scan.run(i + c.length, kNumberChar));
    } else {
      scan.emit(scan.run_of_others(i + c.length, kLetterChar | kNumberChar));
    }
  }
}

void split_llama3(Scanner& scan, const WordPattern& pattern) {
  const unsigned letters = pattern.marks ? kLetterChar | kMarkChar : kLetterChar;
  while (!scan.done()) {
    const std::size_t start = scan.position();
    const Char c = scan.at(start);
    if (pattern.contractions && c.code == '\'') {
      if (const std::size_t n = scan.contraction(start, true); n > 0) {
        scan.emit(start + n);
        continue;
      }
    }
    if ((c.kind & letters) != 0) {
      scan.emit(scan.run(start + c.length, letters));
      continue;
    }
    if (c.kind == kNumberChar) {
      std::size_t i = start + c.length;
      for (unsigned digits = 1; pattern.max_digits == 0 || digits < pattern.max_digits; ++digits) {
        const Char d = scan.at(i);
        if (d.length == 0 || d.kind != kNumberChar) break;
        i += d.length;
      }
      scan.emit(i);
      continue;
    }
    const Char next = scan.at(start + c.length);
    const bool newline = c.code == '\r' || c.code == '\n';
    if (!newline && next.length != 0 && (next.kind & letters) != 0) {  // [^\r\n\p{L}\p{N}]?\p{L}+
      scan.emit(scan.run(start + c.length + next.length, letters));
      continue;
    }
    //  ?[^\s\p{L}\p{N}]+[\r\n]*
    const bool symbol = c.kind != kSpaceChar;
    const bool space_symbol =
        c.code == ' ' && next.length != 0 && (next.kind & (kSpaceChar | kNumberChar | letters)) == 0;
    if (symbol || space_symbol) {
      std::size_t i = scan.run_of_others(start + c.length, letters | kNumberChar);
      while (i < scan.text().size() && (scan.text()[i] == '\r' || scan.text()[i] == '\n')) ++i;
      scan.emit(i);
      continue;
    }
    scan.emit_space(true);
  }
}

}  // namespace

std::optional<WordPattern> recognize_pattern(std::string_view regex) {
  using Style = WordPattern::Style;
  struct Known {
    std::string_view regex;
    WordPattern pattern;
  };
  static constexpr std::string_view kGpt2Tail = "|\\s+";
  static constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
  if (regex == kGpt2) return WordPattern{};
  if (regex.size() == kGpt2.size() + kGpt2Tail.size() && regex.substr(0, kGpt2.size()) == kGpt2 &&
      regex.substr(kGpt2.size()) == kGpt2Tail) {
    return WordPattern{};
  }
  // The contractions have two spellings, the rest of the expression comes from this list.
  bool contractions = false;
  for (const std::string_view spelled :
       {std::string_view("(?i:'s|'t|'re|'ve|'m|'ll|'d)|"),
        std::string_view("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|")}) {
    if (regex.substr(0, spelled.size()) == spelled) {
      regex.remove_prefix(spelled.size());
      contractions = true;
      break;
    }
  }
  static constexpr Known kKnown[] = {
      {R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {Style::kLlama3, true, false, 3}},
      {R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {Style::kLlama3, true, false, 1}},
      {R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {Style::kLlama3, true, false, 1}},
      {R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {Style::kLlama3, true, false, 0}},
      {R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {Style::kLlama3, true, true, 1}},
  };
  for (const Known& known : kKnown) {
    if (regex != known.regex) continue;
    WordPattern pattern = known.pattern;
    pattern.contractions = contractions;
    return pattern;
  }
  return std::nullopt;
}

void split_words(std::string_view text, const WordPattern& pattern, std::vector<std::string_view>& words) {
  Scanner scan(text, words);
  if (pattern.style == WordPattern::Style::kGpt2) {
    split_gpt2(scan);
  } else {
    split_llama3(scan, pattern);
  }
}

}  // namespace lathe::text
