// Cutting words: the hand-written scanners against the regular expressions they stand for, the split behaviours, and
// patterns that would backtrack without end.
#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/fast_split.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

using Views = std::vector<std::string_view>;

Views split_by_regex(std::string_view text, const Regex& regex) {
  Views words;
  Regex::Matcher matcher(regex);
  Regex::Match m{};
  std::size_t done = 0;
  while (done < text.size() && matcher.find(text, done, m)) {
    if (m.begin > done) words.push_back(text.substr(done, m.begin - done));
    words.push_back(text.substr(m.begin, m.end - m.begin));
    done = m.end;
  }
  if (done < text.size()) words.push_back(text.substr(done));
  return words;
}

// Characters that the expressions tell apart, from every class.
std::string random_text(std::mt19937& random, std::size_t characters) {
  static const char32_t kAlphabet[] = {'a',    'B',     's',     't',    'l',  'L',  'd',    'r',    'e',    '\'',
                                       '\'',   ' ',     ' ',     ' ',    '\n', '\r', '\t',   '1',    '2',    '.',
                                       ',',    '!',     '(',     '/',    '_',  0xe9, 0x17f,  0x301,  0x93f,  0x663,
                                       0xb2,   0x2160,  0x4f60,  0x3042, 0xa0, 0x85, 0x2003, 0x3000, 0x180e, 0x200b,
                                       0x2028, 0x1f600, 0x1d518, 0x0b,   0x0c, 0x7f, 0x2581};
  std::string text;
  for (std::size_t i = 0; i < characters; ++i) append_utf8(text, kAlphabet[random() % std::size(kAlphabet)]);
  return text;
}

TEST(FastSplit, EqualsItsRegularExpressions) {
  std::mt19937 random(7);
  int recognized = 0;
  for (const char* name : {"gpt-2", "llama-bpe", "qwen2", "qwen35", "minicpm5"}) {
    const auto steps = pre_tokenizer_by_name(name);
    for (const PreTokenizerStep& step : *steps) {
      const auto pattern = recognize_pattern(step.pattern);
      if (!pattern) continue;
      ++recognized;
      const Regex regex(step.pattern, "test");
      for (int round = 0; round < 3000; ++round) {
        const std::string text = random_text(random, 1 + random() % 24);
        Views words;
        split_words(text, *pattern, words);
        ASSERT_EQ(words, split_by_regex(text, regex)) << name << ": " << quoted(text, 200);
      }
    }
  }
  EXPECT_EQ(recognized, 5);
  EXPECT_FALSE(recognize_pattern("\\w+").has_value());
}

TEST(PreTokenizer, SplitBehaviors) {
  using Behavior = PreTokenizerStep::Behavior;
  const std::pair<Behavior, Views> cases[] = {{Behavior::kRemoved, {"the", "final", "countdown"}},
                                              {Behavior::kIsolated, {"the", "-", "final", "-", "-", "countdown"}},
                                              {Behavior::kMergedWithPrevious, {"the-", "final-", "-", "countdown"}},
                                              {Behavior::kMergedWithNext, {"the", "-final", "-", "-countdown"}},
                                              {Behavior::kContiguous, {"the", "-", "final", "--", "countdown"}}};
  for (const auto& [behavior, expected] : cases) {
    for (const bool regex : {false, true}) {
      PreTokenizerStep step;
      step.pattern = "-";
      step.regex = regex;
      step.behavior = behavior;
      Words words;
      PreTokenizer({step}, "test").split("the-final--countdown", true, words);
      EXPECT_EQ(words.views, expected) << static_cast<int>(behavior);
    }
  }
}

TEST(PreTokenizer, NamesAreFoundAgain) {
  for (const char* name :
       {"gpt-2", "llama-bpe", "qwen2", "starcoder", "falcon", "deepseek-coder", "deepseek-v3", "tekken", "gpt-4o"}) {
    EXPECT_EQ(pre_tokenizer_name(*pre_tokenizer_by_name(name)), name);
  }
  PreTokenizerStep bytes;
  bytes.type = PreTokenizerStep::Type::kByteLevel;
  EXPECT_EQ(pre_tokenizer_name({bytes}), "gpt-2");
  EXPECT_EQ(pre_tokenizer_name({}), "");
}

TEST(Regex, SaysWhatIsWrongWithAPattern) {
  EXPECT_THROW(Regex("(", "file"), Error);
  EXPECT_THROW(Regex("[a", "file"), Error);
  EXPECT_THROW(Regex("\xff", "file"), Error);
  EXPECT_THROW(Regex(std::string(100000, 'a'), "file"), Error);
}

TEST(Regex, CatastrophicBacktrackingEndsInAnError) {
  PreTokenizerStep step;
  step.pattern = "(a+)+$";
  const PreTokenizer splitter({step}, "file");
  Words words;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(splitter.split(std::string(5000, 'a') + "b", true, words), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Regex, WhiteSpaceIsTheUnicodeProperty) {
  const Regex regex("\\s", "test");
  Regex::Matcher matcher(regex);
  Regex::Match m{};
  for (char32_t code = 0; code < 0x3100; ++code) {
    std::string text;
    append_utf8(text, code);
    EXPECT_EQ(matcher.find(text, 0, m), is_white_space(code)) << static_cast<unsigned>(code);
  }
}

TEST(Normalizer, FormsAndLongRunsOfMarks) {
  EXPECT_EQ(normalize("e\u0301", NormalForm::kNfc), "\u00e9");
  EXPECT_EQ(normalize("\u00e9", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normalize("\ufb01 \u2460", NormalForm::kNfkc), "fi 1");
  EXPECT_EQ(normalize("\uac01", NormalForm::kNfd), "\u1100\u1161\u11a8");
  EXPECT_EQ(normalize("\u1100\u1161\u11a8", NormalForm::kNfc), "\uac01");
  // A megabyte of combining marks in the worst order for sorting takes linear time.
  std::string marks = "a";
  while (marks.size() < (1 << 20)) marks += "\u0315\u0300";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(normalize(marks, NormalForm::kNfc).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  // Cutting a long text into stretches changes nothing in real writing.
  std::string korean;
  while (korean.size() < 100000) korean += "\uac01\ub09c\ub2e4";
  EXPECT_EQ(normalize(normalize(korean, NormalForm::kNfd), NormalForm::kNfc), korean);
}

TEST(Normalizer, InvalidBytesStay) {
  const Normalizer nfc({{.type = NormalizerStep::Type::kNfc}, {.type = NormalizerStep::Type::kLowercase}}, "test");
  EXPECT_EQ(nfc.apply("E\u0301\xff\xc3(A\xe2\x82"), "\u00e9\xff\xc3(a\xe2\x82");
}

TEST(Utf8, IncompleteSuffix) {
  EXPECT_EQ(incomplete_utf8_suffix("abc"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("ab\xc3"), 1u);
  EXPECT_EQ(incomplete_utf8_suffix("\xe6\x97"), 2u);
  EXPECT_EQ(incomplete_utf8_suffix("\xf0\x9f\x98"), 3u);
  EXPECT_EQ(incomplete_utf8_suffix("\xf0\x9f\x98\x80"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("\xff"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("\xe0\x80"), 0u);  // overlong: can never be completed
  EXPECT_EQ(incomplete_utf8_suffix("\x80\x80"), 0u);
}

}  // namespace
}  // namespace lathe::text
