#include "text/pre_tokenizer.h"

#include <functional>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/fast_split.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

using Type = PreTokenizerStep::Type;
using Behavior = PreTokenizerStep::Behavior;
using Views = std::vector<std::string_view>;

// A stretch of a piece: matched by the pattern, or between matches.
struct Span {
  std::size_t begin, end;
  bool match;
};

// Joins matches and gaps to words, as the Hugging Face library defines the five behaviours.
void join_spans(std::string_view text, const std::vector<Span>& spans, Behavior behavior, Views& out) {
  const auto emit = [&](std::size_t begin, std::size_t end) {
    if (end > begin) out.push_back(text.substr(begin, end - begin));
  };
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    switch (behavior) {
      case Behavior::kRemoved:
        if (!span.match) emit(span.begin, span.end);
        break;
      case Behavior::kIsolated:
        emit(span.begin, span.end);
        break;
      case Behavior::kContiguous: {
        std::size_t end = span.end;
        while (i + 1 < spans.size() && spans[i + 1].match == span.match) end = spans[++i].end;
        emit(span.begin, end);
        break;
      }
      case Behavior::kMergedWithPrevious:
        if (!span.match && i + 1 < spans.size() && spans[i + 1].match) {
          emit(span.begin, spans[++i].end);
        } else {
          emit(span.begin, span.end);
        }
        break;
      case Behavior::kMergedWithNext:
        if (span.match && i + 1 < spans.size() && !spans[i + 1].match) {
          emit(span.begin, spans[++i].end);
        } else {
          emit(span.begin, span.end);
        }
        break;
    }
  }
}

// Cuts by a property of single characters: each character for which `is_match` holds is a match of its own.
void split_chars(std::string_view text, bool (*is_match)(char32_t), Behavior behavior, Views& out) {
  std::vector<Span> spans;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    const bool match = c.valid && is_match(c.code);
    if (!match && !spans.empty() && !spans.back().match) {
      spans.back().end = at + c.length;
    } else {
      spans.push_back({at, at + c.length, match});
    }
    at += c.length;
  }
  join_spans(text, spans, behavior, out);
}

void split_regex(std::string_view text, const Regex& regex, Behavior behavior, bool invert, Views& out) {
  Regex::Matcher matcher(regex);
  std::vector<Span> spans;
  std::size_t done = 0, base = 0;
  // Bytes that are not UTF-8 match nothing; the stretches between them are searched one by one.
  while (base < text.size()) {
    const std::string_view valid = text.substr(base, valid_utf8_prefix(text.substr(base)));
    Regex::Match m{};
    for (std::size_t at = 0; at <= valid.size() && matcher.find(valid, at, m);) {
      if (base + m.begin > done) spans.push_back({done, base + m.begin, invert});
      if (m.end > m.begin) spans.push_back({base + m.begin, base + m.end, !invert});
      done = base + m.end;
      at = m.end;
      if (m.end == m.begin) at = m.end < valid.size() ? m.end + decode_utf8(valid, m.end).length : m.end + 1;
    }
    base += valid.size() + 1;
  }
  if (done < text.size()) spans.push_back({done, text.size(), invert});
  join_spans(text, spans, behavior, out);
}

void split_pattern(std::string_view text, const WordPattern& pattern, Views& out) {
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    split_words(text.substr(0, valid), pattern, out);
    text.remove_prefix(valid);
    std::size_t invalid = 0;
    while (invalid < text.size() && !decode_utf8(text, invalid).valid) ++invalid;
    if (invalid > 0) out.push_back(text.substr(0, invalid));
    text.remove_prefix(invalid);
  }
}

void split_literal(std::string_view text, std::string_view pattern, Behavior behavior, bool invert, Views& out) {
  std::vector<Span> spans;
  std::size_t done = 0;
  for (std::size_t hit; !pattern.empty() && (hit = text.find(pattern, done)) != std::string_view::npos;) {
    if (hit > done) spans.push_back({done, hit, invert});
    spans.push_back({hit, hit + pattern.size(), !invert});
    done = hit + pattern.size();
  }
  if (done < text.size()) spans.push_back({done, text.size(), invert});
  join_spans(text, spans, behavior, out);
}

bool is_bert_punctuation(char32_t code) {
  const bool ascii = (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
                     (code >= 123 && code <= 126);
  return ascii || is_punctuation(code);
}

void split_bert(std::string_view text, Views& out) {
  std::size_t start = 0;
  const auto emit = [&](std::size_t end) {
    if (end > start) out.push_back(text.substr(start, end - start));
  };
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    const bool space = is_white_space(c.code);
    if (space || is_bert_punctuation(c.code)) {
      emit(at);
      start = at;
      if (!space) emit(at + c.length);
      start = at + c.length;
    }
    at += c.length;
  }
  emit(text.size());
}

// \w+|[^\w\s]+
void split_whitespace(std::string_view text, Views& out) {
  enum Kind { kSpace, kWord, kSymbol };
  std::size_t start = 0;
  Kind previous = kSpace;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    const Kind kind = is_white_space(c.code) ? kSpace : is_word_char(c.code) ? kWord : kSymbol;
    if (kind != previous) {
      if (previous != kSpace) out.push_back(text.substr(start, at - start));
      start = at;
      previous = kind;
    }
    at += c.length;
  }
  if (previous != kSpace) out.push_back(text.substr(start));
}

void split_fixed(std::string_view text, std::uint32_t length, Views& out) {
  std::size_t start = 0;
  std::uint32_t chars = 0;
  for (std::size_t at = 0; at < text.size();) {
    at += decode_utf8(text, at).length;
    if (++chars == length || at == text.size()) {
      out.push_back(text.substr(start, at - start));
      start = at;
      chars = 0;
    }
  }
}

}  // namespace

struct PreTokenizer::Step {
  PreTokenizerStep spec;
  std::optional<Regex> regex;
  std::optional<WordPattern> pattern;

  void split(std::string_view text, bool first, Words& words, Views& out) const {
    switch (spec.type) {
      case Type::kSplit:
        if (pattern) return split_pattern(text, *pattern, out);
        if (regex) return split_regex(text, *regex, spec.behavior, spec.invert, out);
        return split_literal(text, spec.pattern, spec.behavior, spec.invert, out);
      case Type::kByteLevel:
        if (spec.add_prefix_space && text[0] != ' ') text = words.owned.emplace_back(" " + std::string(text));
        return split_byte_level(text, words, out);
      case Type::kMetaspace:
        return split_metaspace(text, first, words, out);
      case Type::kDigits:
        return split_chars(text, is_number, spec.individual ? Behavior::kIsolated : Behavior::kContiguous, out);
      case Type::kPunctuation:
        return split_chars(text, is_bert_punctuation, spec.behavior, out);
      case Type::kWhitespace:
        return split_whitespace(text, out);
      case Type::kWhitespaceSplit:
        return split_chars(text, is_white_space, Behavior::kRemoved, out);
      case Type::kBert:
        return split_bert(text, out);
      case Type::kFixedLength:
        return split_fixed(text, spec.length, out);
    }
  }

  void split_byte_level(std::string_view text, Words& words, Views& out) const {
    const std::size_t first = out.size();
    if (pattern) {
      split_pattern(text, *pattern, out);
    } else {
      out.push_back(text);
    }
    for (std::size_t i = first; spec.to_alphabet && i < out.size(); ++i) {
      out[i] = words.owned.emplace_back(bytes_to_alphabet(out[i]));
    }
  }

  void split_metaspace(std::string_view text, bool first, Words& words, Views& out) const {
    std::string replaced;
    replaced.reserve(text.size() + text.size() / 2);
    const bool prepend = spec.prepend == PrependScheme::kAlways || (spec.prepend == PrependScheme::kFirst && first);
    const bool starts = text[0] == ' ' || text.substr(0, spec.replacement.size()) == spec.replacement;
    if (prepend && !starts) replaced += spec.replacement;
    for (const char c : text) {
      if (c == ' ') {
        replaced += spec.replacement;
      } else {
        replaced += c;
      }
    }
    const std::string_view view = words.owned.emplace_back(std::move(replaced));
    if (!spec.split) {
      out.push_back(view);
    } else {
      split_literal(view, spec.replacement, Behavior::kMergedWithNext, false, out);
    }
  }
};

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerStep>& steps, std::string_view where) {
  for (const PreTokenizerStep& step : steps) {
    Step compiled{step, {}, {}};
    if (step.type == Type::kByteLevel && step.use_regex) compiled.pattern = WordPattern{};
    if (step.type == Type::kSplit && step.regex) {
      // The known patterns match every character, so removed gaps and joined gaps do not arise.
      if (step.behavior == Behavior::kIsolated || (step.behavior == Behavior::kRemoved && step.invert)) {
        compiled.pattern = recognize_pattern(step.pattern);
      }
      if (!compiled.pattern) compiled.regex.emplace(step.pattern, where);
    }
    if (step.type == Type::kFixedLength && step.length == 0) fail(where, "a pre-tokenizer cuts words of no characters");
    if (step.type == Type::kMetaspace && step.replacement.empty())
      fail(where, "a Metaspace pre-tokenizer has no replacement");
    steps_.push_back(std::move(compiled));
  }
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text, bool first, Words& words) const {
  words.views.clear();
  if (text.empty()) return;
  if (steps_.empty()) {
    words.views.push_back(text);
    return;
  }
  steps_[0].split(text, first, words, words.views);
  Views pieces;
  for (std::size_t i = 1; i < steps_.size(); ++i) {
    pieces.clear();
    pieces.swap(words.views);
    for (std::size_t j = 0; j < pieces.size(); ++j) steps_[i].split(pieces[j], first && j == 0, words, words.views);
  }
}

}  // namespace lathe::text
