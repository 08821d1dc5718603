// Grammars against a recogniser that shares nothing with the automaton: naive backtracking over the grammar's
// expressions. And token masks against asking for every token on its own.
#include <gtest/gtest.h>

#include <ctime>
#include <functional>
#include <random>

#include "base/error.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/token_masks.h"
#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

using Kind = Expression::Kind;

// What the backtracking finds out about a text: it matches; or it could match if more bytes came.
class Oracle {
 public:
  explicit Oracle(const Grammar& grammar) : grammar_(grammar) {}

  struct Answer {
    bool complete = false, viable = false;
    bool operator==(const Answer&) const = default;
  };
  Answer ask(std::string_view text) {
    text_ = text;
    answer_ = {};
    match(grammar_.rules[grammar_.root].body, 0, [&](std::size_t at) {
      if (at == text_.size()) answer_.complete = answer_.viable = true;
    });
    return answer_;
  }

 private:
  using Then = std::function<void(std::size_t)>;

  void terminal(const std::string& bytes, std::size_t at, const Then& then) {
    const std::string_view rest = text_.substr(at);
    if (rest.starts_with(bytes)) return then(at + bytes.size());
    if (bytes.starts_with(rest)) answer_.viable = true;
  }

  void in_order(const std::vector<Expression>& items, std::size_t i, std::size_t at, const Then& then) {
    if (i == items.size()) return then(at);
    match(items[i], at, [&, i](std::size_t next) { in_order(items, i + 1, next, then); });
  }

  void times(const Expression& item, std::uint32_t min, std::uint32_t max, std::size_t at, const Then& then) {
    if (min == 0) then(at);
    if (max == 0) return;
    match(item, at, [&, min, max](std::size_t next) {
      if (next == at && min == 0) return;  // another empty one finds nothing new
      times(item, min == 0 ? 0 : min - 1, max == kUnbounded ? max : max - 1, next, then);
    });
  }

  void match(const Expression& e, std::size_t at, const Then& then) {
    switch (e.kind) {
      case Kind::kLiteral:
        return terminal(e.bytes, at, then);
      case Kind::kClass:
        for (const CodeRange& range : e.ranges) {
          for (char32_t c = range.first; c <= range.last; ++c) {
            std::string bytes;
            append_utf8(bytes, c);
            terminal(bytes, at, then);
          }
        }
        return;
      case Kind::kRule:
        return match(grammar_.rules[e.rule].body, at, then);
      case Kind::kSequence:
        return in_order(e.items, 0, at, then);
      case Kind::kChoice:
        for (const Expression& item : e.items) match(item, at, then);
        return;
      case Kind::kRepeat:
        return times(e.items[0], e.min, e.max, at, then);
    }
  }

  const Grammar& grammar_;
  std::string_view text_;
  Answer answer_;
};

Oracle::Answer run(Machine& machine, std::string_view text) {
  SetId set = machine.start();
  for (const char byte : text) set = machine.step(set, static_cast<std::uint8_t>(byte));
  return {machine.accepts(set), set != Machine::kDead};
}

// Every text over a few characters, and their halves, up to a length.
std::vector<std::string> all_texts(std::size_t length) {
  static const std::vector<std::string> kPieces = {"a", "b", "\xc3", "\xa9"};
  std::vector<std::string> texts{""};
  for (std::size_t begin = 0, n = 0; n < length; ++n) {
    const std::size_t end = texts.size();
    for (; begin < end; ++begin) {
      for (const std::string& piece : kPieces) texts.push_back(texts[begin] + piece);
    }
  }
  return texts;
}

// Anything the notation can say, over the same characters.
class RandomGrammar {
 public:
  // Counts of repetitions are multiples of `step`.
  explicit RandomGrammar(std::uint32_t seed, std::uint32_t step = 1) : random_(seed), step_(step) {}

  Grammar make() {
    Grammar grammar;
    const std::uint32_t rules = below(4) + 1;
    for (std::uint32_t i = 0; i < rules; ++i) grammar.add("r" + std::to_string(i), "random");
    for (Rule& rule : grammar.rules) rule.body = expression(3, rules);
    return grammar;
  }

 private:
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }

  Expression expression(int depth, std::uint32_t rules) {
    switch (depth == 0 ? below(3) : below(8)) {
      case 0:
        return literal(std::vector<std::string>{"a", "b", "ab", "\xc3\xa9", "", "ba"}[below(6)]);
      case 1:
        return char_class(std::vector<std::vector<CodeRange>>{
            {{'a', 'b'}}, {{'a', 'a'}, {0xE9, 0xE9}}, {{'b', 'b'}, {0xE0, 0xFF}}}[below(3)]);
      case 2:
      case 3:
        return rule_reference(below(rules));
      case 4:
      case 5:
        return sequence(several(depth, rules));
      case 6:
        return choice(several(depth, rules));
      default: {
        const std::uint32_t min = below(3) * step_;
        const std::uint32_t max = below(2) == 0 ? kUnbounded : min + below(4) * step_;
        return repeat(expression(depth - 1, rules), min, max);
      }
    }
  }
  std::vector<Expression> several(int depth, std::uint32_t rules) {
    std::vector<Expression> items;
    for (std::uint32_t n = below(3) + 1; n > 0; --n) items.push_back(expression(depth - 1, rules));
    return items;
  }

  std::mt19937 random_;
  std::uint32_t step_;
};

TEST(Machine, AgreesWithBacktrackingOnRandomGrammars) {
  const std::vector<std::string> texts = all_texts(5);
  int compiled = 0, refused = 0, matched = 0;
  for (std::uint32_t seed = 0; seed < 1200; ++seed) {
    const Grammar grammar = RandomGrammar(seed).make();
    std::shared_ptr<const Automaton> automaton;
    try {
      automaton = std::make_shared<Automaton>(grammar);
    } catch (const Error&) {
      ++refused;
      continue;
    }
    ++compiled;
    Machine machine(automaton);
    Oracle oracle(grammar);
    for (const std::string& text : texts) {
      const Oracle::Answer answer = oracle.ask(text);
      ASSERT_EQ(run(machine, text), answer) << "grammar " << seed << " on " << quoted(text);
      matched += answer.complete;
    }
  }
  EXPECT_GT(compiled, 300);
  EXPECT_GT(refused, 100);
  EXPECT_GT(matched, 1000);
}

TEST(Machine, AgreesWithBacktrackingOnWrittenGrammars) {
  const std::vector<std::string> grammars = {
      "root ::= \"a\" root \"b\" | \"a\" root \"ab\" | \"\"",
      "root ::= (x x){1,3}\nx ::= [ab]? \"b\"",
      "root ::= p*\np ::= \"a\" p \"b\" | \"b\" p \"a\" | \"ab\"",
      "root ::= a | b\na ::= \"a\" a | \"a\"\nb ::= \"ab\" b? ",
      "root ::= e (\"a\" e)*\ne ::= \"b\" | \"b\" root \"b\"",
      "root ::= . [^a]{0,2} [^\\u00e9]",
      "root ::= \"a\"{3} | \"b\"{2,} | \"\\u00e9\"{,2}",
      "root ::= n n \"a\"\nn ::= \"b\"? m?\nm ::= n2 \"a\"\nn2 ::= \"b\"*",
      "root ::= (\"ab\" | \"a\" | \"abb\" | \"ab\" | \"ba\"){1,3} (\"a\" | \"\" | \"aab\")",
      "root ::= (x{1,3}){1,3} \"b\"\nx ::= \"a\"{1,3}",
      "root ::= x{2,5} y{0,4}\nx ::= \"a\"{0,3} \"b\"\ny ::= [ab]{1,3}",
      "root ::= ([ab]{2,4} | \"a\"{1,5} \"b\"){0,3} \"ab\"{3,}",
  };
  for (const std::string& text : grammars) {
    Grammar grammar = parse_gbnf(text);
    Machine machine(std::make_shared<Automaton>(grammar));
    // The oracle tries every character of a class, so the large ones are cut to what the texts are made of.
    const std::function<void(Expression&)> cut = [&](Expression& e) {
      std::vector<CodeRange> kept;
      for (const CodeRange range : e.ranges) {
        for (const CodeRange used : {CodeRange{'a', 'b'}, CodeRange{0xC0, 0xFF}}) {
          const CodeRange both{std::max(range.first, used.first), std::min(range.last, used.last)};
          if (both.first <= both.last) kept.push_back(both);
        }
      }
      e.ranges = kept;
      for (Expression& item : e.items) cut(item);
    };
    for (Rule& rule : grammar.rules) cut(rule.body);
    Oracle oracle(grammar);
    int complete = 0;
    for (const std::string& candidate : all_texts(6)) {
      const Oracle::Answer answer = oracle.ask(candidate);
      ASSERT_EQ(run(machine, candidate), answer) << text << " on " << quoted(candidate);
      complete += answer.complete;
    }
    EXPECT_GT(complete, 0) << text;
  }
}

TEST(Machine, ACompactedMachineGoesOnAsBefore) {
  const auto automaton =
      std::make_shared<Automaton>(parse_gbnf("root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\" | \"1\""));
  Machine machine(automaton);
  SetId set = machine.start();
  for (const char c : std::string("[[1,[1,[[1")) set = machine.step(set, static_cast<std::uint8_t>(c));
  auto [fresh, fresh_set] = machine.compacted(set);
  EXPECT_LT(fresh.bytes_used(), machine.bytes_used());
  for (const char c : std::string("]],1],[]]]")) {
    set = machine.step(set, static_cast<std::uint8_t>(c));
    fresh_set = fresh.step(fresh_set, static_cast<std::uint8_t>(c));
    EXPECT_EQ(machine.configurations(set).size(), fresh.configurations(fresh_set).size());
    EXPECT_EQ(machine.accepts(set), fresh.accepts(fresh_set));
    ASSERT_NE(set, Machine::kDead);
    ASSERT_NE(fresh_set, Machine::kDead);
  }
  EXPECT_EQ(machine.step(set, '1'), fresh.step(fresh_set, '1'));
}

TEST(Machine, ManyNestedAlternativesStaySmall) {
  // 2^n stacks after n bytes, were they not shared.
  Machine machine(std::make_shared<Automaton>(parse_gbnf("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"x\"")));
  SetId set = machine.start();
  for (int i = 0; i < 3000; ++i) set = machine.step(set, 'a');
  EXPECT_LT(machine.configurations(set).size(), 10u);
  set = machine.step(set, 'x');
  for (int i = 0; i < 3000; ++i) set = machine.step(set, i % 2 != 0 ? 'b' : 'c');
  EXPECT_NE(set, Machine::kDead);
  EXPECT_TRUE(machine.accepts(set));
}

TEST(Machine, TailCallsNeedNoMemory) {
  Machine machine(std::make_shared<Automaton>(parse_gbnf("root ::= [ab] more\nmore ::= root | \"\"")));
  SetId set = machine.start();
  for (int i = 0; i < 100; ++i) set = machine.step(set, 'a');
  const std::size_t bytes = machine.bytes_used();
  for (int i = 0; i < 10'000; ++i) set = machine.step(set, "ab"[i % 2]);
  EXPECT_EQ(machine.bytes_used(), bytes);
  EXPECT_TRUE(machine.accepts(set));
}

// --- token masks ---

std::vector<std::string> random_vocabulary(std::uint32_t seed, std::uint32_t longest) {
  std::mt19937 random(seed);
  static const std::vector<std::string> kPieces = {"a", "b", "ab", "\xc3", "\xa9", "\xc3\xa9", "ba"};
  std::vector<std::string> tokens{"", "a", "b", "\xc3", "\xa9"};
  for (int i = 0; i < 150; ++i) {
    std::string token;
    for (std::uint32_t n = random() % longest + 1; n > 0; --n) token += kPieces[random() % kPieces.size()];
    tokens.push_back(token);  // some twice
  }
  return tokens;
}

// Follows random texts through random grammars; returns the number of masks compared.
int compare_masks(std::uint32_t seed, std::uint32_t step, std::uint32_t longest, int length) {
  std::shared_ptr<const Automaton> automaton;
  try {
    automaton = std::make_shared<Automaton>(RandomGrammar(seed, step).make());
  } catch (const Error&) {
    return 0;
  }
  const auto vocabulary = std::make_shared<Vocabulary>(random_vocabulary(seed, longest), std::vector<TokenId>{0});
  const auto masks = std::make_shared<TokenMasks>(automaton, vocabulary);
  std::mt19937 random(seed);
  int states = 0;
  for (int text = 0; text < 3; ++text) {
    Matcher matcher(masks);
    for (int n = 0; n < length; ++n, ++states) {
      const TokenSet allowed = matcher.allowed();
      std::vector<TokenId> may;
      for (TokenId id = 1; static_cast<std::size_t>(id) < vocabulary->size(); ++id) {
        Matcher copy = matcher;
        const bool alone = copy.accept(id);
        EXPECT_EQ(allowed.has(id), alone) << "grammar " << seed << " token " << quoted(vocabulary->bytes(id));
        if (alone) may.push_back(id);
      }
      EXPECT_EQ(allowed.has(0), matcher.complete());
      EXPECT_EQ(may.empty(), matcher.exhausted());
      if (may.empty() || testing::Test::HasFailure()) break;
      EXPECT_TRUE(matcher.accept(may[random() % may.size()]));
    }
  }
  return states;
}

TEST(Masks, AreWhatEveryTokenAloneSays) {
  int states = 0;
  for (std::uint32_t seed = 0; seed < 400 && !HasFailure(); ++seed) states += compare_masks(seed, 1, 5, 12);
  EXPECT_GT(states, 1000);
}

// Counts that no token is long enough to reach are taken for alike: texts run past them, one short token after another.
TEST(Masks, OfCountsBeyondTheLongestToken) {
  int states = 0;
  for (std::uint32_t seed = 0; seed < 150 && !HasFailure(); ++seed) states += compare_masks(seed, 9, 1, 40);
  EXPECT_GT(states, 1000);
  const auto vocabulary =
      std::make_shared<Vocabulary>(std::vector<std::string>{"", "a", "aa", "b", "ab"}, std::vector<TokenId>{0});
  const auto masks =
      std::make_shared<TokenMasks>(std::make_shared<Automaton>(parse_gbnf("root ::= \"a\"{20,50} \"b\"")), vocabulary);
  Matcher matcher(masks);
  for (int n = 0; n <= 50; ++n) {
    const TokenSet& allowed = matcher.allowed();
    EXPECT_EQ(allowed.has(1), n < 50) << n;
    EXPECT_EQ(allowed.has(2), n < 49) << n;
    EXPECT_EQ(allowed.has(3), n >= 20) << n;
    EXPECT_EQ(allowed.has(4), n >= 19 && n < 50) << n;
    if (n < 50) {
      EXPECT_TRUE(matcher.accept(1));
    }
  }
  EXPECT_LT(matcher.cost().trie_nodes, 51u * vocabulary->nodes().size() / 2);  // most masks are one and the same
}

TEST(Masks, EndOfGenerationExactlyWhereTheTextIsComplete) {
  const auto vocabulary =
      std::make_shared<Vocabulary>(std::vector<std::string>{"", "a", "", "aa"}, std::vector<TokenId>{0, 2});
  const auto masks =
      std::make_shared<TokenMasks>(std::make_shared<Automaton>(parse_gbnf("root ::= \"a\"{2,3}")), vocabulary);
  Matcher matcher(masks);
  EXPECT_FALSE(matcher.accept(0));
  EXPECT_TRUE(matcher.accept(1));
  EXPECT_FALSE(matcher.complete());
  EXPECT_TRUE(matcher.accept(1));
  EXPECT_TRUE(matcher.allowed().has(0) && matcher.allowed().has(2) && matcher.allowed().has(1));
  EXPECT_FALSE(matcher.allowed().has(3));
  EXPECT_FALSE(matcher.accept(3));
  EXPECT_TRUE(matcher.accept(2));
  EXPECT_TRUE(matcher.ended());
  EXPECT_TRUE(matcher.allowed().empty());
  EXPECT_FALSE(matcher.accept(1));
  EXPECT_FALSE(matcher.accept(-1));
  EXPECT_FALSE(matcher.accept(99));
}

// --- errors ---

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
std::string error_of(const std::string& text) {
  return error_of([&] { Automaton automaton(parse_gbnf(text)); });
}

TEST(GrammarErrors, SayWhatAndWhere) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "there is no rule called root"},
      {"# nothing\n", "there is no rule called root"},
      {"x ::= \"a\"", "there is no rule called root"},
      {"root ::= a", "grammar:1:10: rule \"a\" is not defined"},
      {"root ::= \"a\"\nroot ::= \"b\"", "grammar:2:1: rule \"root\" is defined twice"},
      {"root = \"a\"", "grammar:1:6: expected ::="},
      {"root ::= \"a", "grammar:1:10: this literal is not closed"},
      {"root ::= [a", "grammar:1:10: this character class is not closed"},
      {"root ::= []", "grammar:1:10: an empty character class"},
      {"root ::= [b-a]", "grammar:1:11: a range that ends before it begins"},
      {"root ::= [^\\U00000000-\\U0010ffff]", "matches nothing"},
      {"root ::= (\"a\"", "grammar:1:10: this '(' is not closed"},
      {"root ::= \"a\")", "grammar:1:13: expected an item"},
      {"root ::= \"\\q\"", "grammar:1:11: unknown escape"},
      {"root ::= \"\\x1\"", "needs 2 hexadecimal digits"},
      {"root ::= \"\\ud800\"", "U+D800 is not a character"},
      {"root ::= \"\\U00110000\"", "U+110000 is not a character"},
      {"root ::= \"a\"{3,2}", "grammar:1:13: a repetition of at least 3 and at most 2 times"},
      {"root ::= \"a\"{x}", "expected a number"},
      {"root ::= \"a\"{2", "expected '}'"},
      {"root ::= \"a\"{999999999}", "a repetition of more than"},
      {"root ::= \"a\"**", "a second repetition"},
      {"root ::= \"\xff\"", "grammar:1:11: the text is not UTF-8"},
      {"root ::= root \"a\" | \"b\"", "rule \"root\" is left-recursive"},
      {"root ::= \"x\" a\na ::= b \"c\" | \"d\"\nb ::= \"e\"? a", "left-recursive"},
      {"root ::= \"a\" root", "grammar:1:1: rule \"root\" can never finish"},
      {"root ::= \"a\" | \"b\" x\nx ::= \"c\" x", "grammar:2:1: rule \"x\" can never finish"},
      {"root ::= (\"a\"?)*", "repeats something that may be empty"},
      {"root ::= x+\nx ::= \"a\"*", "repeats something that may be empty"},
      {"root ::= (((\"a\"{1000}){1000}){1000})", "larger than"},
      {"root ::= ((\"a\"{0,1000}){0,1000})", "larger than"},
      {"root ::= " + std::string(500, '(') + "\"a\"" + std::string(500, ')'), "open parentheses"},
  };
  for (const auto& [text, expected] : cases)
    EXPECT_NE(error_of(text).find(expected), std::string::npos) << text << "\n  gave: " << error_of(text);
}

class Hostile : public testing::Test {
 protected:
  // Of processor time, which other work on the machine does not add to.
  ~Hostile() override { EXPECT_LT(std::clock() - start_, std::clock_t{20} * CLOCKS_PER_SEC); }

  // Steps along "aaa..." until nothing follows, an error says that it is too much, or `most` bytes.
  static std::string feed(const std::string& text, int most) {
    const auto automaton = std::make_shared<Automaton>(parse_gbnf(text));
    return error_of([&] {
      Machine machine(automaton);
      SetId set = machine.start();
      for (int i = 0; i < most && set != Machine::kDead; ++i) set = machine.step(set, 'a');
      EXPECT_LE(machine.bytes_used(), Machine::kMaxBytes + (std::size_t{8} << 20));
    });
  }

 private:
  std::clock_t start_ = std::clock();
};

TEST_F(Hostile, LongChainsOfRules) {
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 4000; ++i) chain += fmt::format("r{} ::= r{}\n", i, i + 1);
  EXPECT_EQ(feed(chain + "r4000 ::= \"a\" root | \"a\"", 50), "no error");
  std::string loop = "root ::= r0 | \"a\"\n";
  for (int i = 0; i < 30'000; ++i) loop += fmt::format("r{} ::= r{}\n", i, (i + 1) % 30'000);
  EXPECT_NE(error_of(loop).find("can never finish"), std::string::npos);
}

TEST_F(Hostile, ExponentiallyManyWaysToMatch) {
  std::string doubling = "root ::= d40\nd0 ::= \"a\"?\n";
  for (int i = 0; i < 40; ++i) doubling += fmt::format("d{} ::= d{} d{}\n", i + 1, i, i);
  const std::string error = feed(doubling, 2000);
  EXPECT_TRUE(error == "no error" || error.find("too many ways") != std::string::npos) << error;
}

TEST_F(Hostile, RepetitionsThatOverlap) {
  const std::string error = feed("root ::= (\"a\"{0,400} \"a\"{0,400}){0,3} x\nx ::= \"b\"", 3000);
  EXPECT_TRUE(error == "no error" || error.find("too many ways") != std::string::npos) << error;
  EXPECT_EQ(feed("root ::= (\"a\"{0,20000} \"a\"{0,20000}) \"b\"", 8000), "no error");
}

// 32,000 tokens as a model's vocabulary has them: bytes, and words of 2 to 12 letters, many with a space before them.
std::shared_ptr<const Vocabulary> large_vocabulary() {
  std::vector<std::string> tokens{""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::mt19937 random(1);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  while (tokens.size() < 32'000) {
    std::string token = below(2) == 0 ? " " : "";
    for (std::uint32_t n = below(6) + 1; n > 0; --n) {
      token += "bcdfghjklmnpqrstvwxyz"[below(21)];
      token += "aeiou"[below(5)];
    }
    tokens.push_back(token);
  }
  return std::make_shared<Vocabulary>(std::move(tokens), std::vector<TokenId>{0});
}

// The most that one of 60 tokens of a random text costs, and the error that ended it.
struct Hardest {
  Matcher::Cost cost;
  std::string error;
};
Hardest hardest(const std::string& grammar, const std::shared_ptr<const Vocabulary>& vocabulary) {
  Hardest most;
  Matcher matcher(std::make_shared<TokenMasks>(std::make_shared<Automaton>(parse_gbnf(grammar)), vocabulary));
  std::mt19937 random(3);
  for (int n = 0; n < 60 && most.error.empty(); ++n) {
    const Matcher::Cost before = matcher.cost();
    const std::string error = error_of([&] {
      const TokenSet allowed = matcher.allowed();
      std::vector<TokenId> may;
      for (TokenId id = 1; static_cast<std::size_t>(id) < vocabulary->size(); ++id) {
        if (allowed.has(id)) may.push_back(id);
      }
      if (!may.empty()) matcher.accept(may[random() % may.size()]);
    });
    if (error != "no error") most.error = error;
    most.cost.configurations =
        std::max(most.cost.configurations, matcher.cost().configurations - before.configurations);
    most.cost.trie_nodes = std::max(most.cost.trie_nodes, matcher.cost().trie_nodes - before.trie_nodes);
  }
  return most;
}

TEST_F(Hostile, AnEnumerationOfManyTextsCostsLittleAToken) {
  std::string grammar = "root ::= (word \",\"){1,40}\nword ::= \"none\"";
  std::mt19937 random(5);
  const auto letter = [&](int n) { return "eariotnslcudpmhgbfyw"[random() % static_cast<std::uint32_t>(n)]; };
  for (int i = 0; i < 20'000; ++i)
    grammar += fmt::format(" | \"{}{}{}{}!\"", letter(20), letter(20), letter(20), letter(8));
  const Hardest most = hardest(grammar, large_vocabulary());
  EXPECT_EQ(most.error, "");
  EXPECT_LT(most.cost.configurations, 60'000u);
}

TEST_F(Hostile, NestedCountsCostLittleAToken) {
  const auto vocabulary = large_vocabulary();
  const std::size_t nodes = vocabulary->nodes().size();
  for (const char* grammar :
       {"root ::= ((([a-z ]{1,30}){1,30}){1,30}) \"Q\"", "root ::= ((([a-z ]{1,3}){1,30}){1,300}) \"Q\"",
        "root ::= x{0,1000}\nx ::= y{0,400} \"Z\"\ny ::= [a-z ]{1,400}", "root ::= \"\\\"\" .{0,200} \"\\\"\"",
        "root ::= ([a-z ]{0,700}){0,60} \"Q\""}) {
    const Hardest most = hardest(grammar, vocabulary);
    EXPECT_EQ(most.error, "") << grammar;
    EXPECT_LT(most.cost.configurations, 30'000u) << grammar;
    EXPECT_LT(most.cost.trie_nodes, 6 * nodes) << grammar;
  }
}

TEST_F(Hostile, WhatWouldCostTooMuchEndsBeforeItDoes) {
  const auto vocabulary = large_vocabulary();
  for (const char* grammar : {"root ::= (a | b | c | d | e){1,300} \"!\"\na ::= [a-m ]{2,19}\nb ::= [h-z ]{3,17}\nc "
                              "::= [a-z ]{5,11} [d-w]{1,4}\n"
                              "d ::= [aeiou ] [a-z ]{2,23}\ne ::= [b-d ]{1,9} [a-z]{2,7}",
                              "root ::= x{0,5000} \"Q\"\nx ::= y{0,5000} \"Z\" | [a-z ]{7,9}\ny ::= ([a-n ]{2,3} | "
                              "z){2,3}\nz ::= [i-z ]{5,}"}) {
    const Hardest most = hardest(grammar, vocabulary);
    EXPECT_NE(most.error.find("too many ways"), std::string::npos) << grammar << ": " << most.error;
    EXPECT_LT(most.cost.configurations, TokenMasks::kMaxWork + 2 * Machine::kMaxConfigurations) << grammar;
    EXPECT_LT(most.cost.trie_nodes, 6 * vocabulary->nodes().size()) << grammar;
  }
}

}  // namespace
}  // namespace lathe::text::grammar
