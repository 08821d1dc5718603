// Tokenizers on vocabularies small enough to work out by hand, one per family.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/pre_tokenizer.h"
#include "text/stream_decoder.h"
#include "text/tokenizer_spec.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

using Ids = std::vector<TokenId>;

TokenId add(TokenizerSpec& spec, std::string piece, TokenKind kind = TokenKind::kNormal, float score = 0) {
  spec.pieces.push_back(std::move(piece));
  spec.kinds.push_back(kind);
  spec.scores.push_back(score);
  return static_cast<TokenId>(spec.size() - 1);
}

TokenId id_of(const TokenizerSpec& spec, std::string_view piece) {
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (spec.pieces[id] == piece) return static_cast<TokenId>(id);
  }
  return kNoToken;
}

// 256 bytes, the merges given, and one control token <|end|>.
TokenizerSpec byte_bpe(const std::vector<std::pair<std::string, std::string>>& merges, std::string_view pre = "gpt-2") {
  TokenizerSpec spec;
  spec.name = "small";
  for (int byte = 0; byte < 256; ++byte) add(spec, bytes_to_alphabet(std::string(1, static_cast<char>(byte))));
  for (const auto& [left, right] : merges) {
    const std::string l = bytes_to_alphabet(left), r = bytes_to_alphabet(right);
    const TokenId result = add(spec, l + r);
    spec.merges.push_back({id_of(spec, l), id_of(spec, r), result});
  }
  const TokenId end = add(spec, "<|end|>", TokenKind::kControl);
  spec.added.push_back({.id = end});
  spec.scores.clear();
  spec.byte_level = spec.decoder.byte_level = true;
  spec.pre_name = pre;
  spec.pre_tokenizer = *pre_tokenizer_by_name(pre);
  spec.special.eos = end;
  return spec;
}

TEST(ByteBpe, MergesByRankNotByLength) {
  // "abc": "bc" has the better rank, so it merges first and "ab" never does.
  const TokenizerSpec spec = byte_bpe({{"b", "c"}, {"a", "b"}, {"a", "bc"}});
  const auto tokenizer = make_tokenizer(spec);
  EXPECT_EQ(tokenizer->encode("abc"), (Ids{258}));
  EXPECT_EQ(tokenizer->encode("ab"), (Ids{257}));
  EXPECT_EQ(tokenizer->encode("abb"), (Ids{257, 'b'}));
}

TEST(ByteBpe, APieceThatMergesDoNotReachIsNotUsedForAWholeWord) {
  // "ab" takes both letters before "bc" can form, so the piece "abc" = "a" + "bc" is out of reach.
  TokenizerSpec spec = byte_bpe({{"a", "b"}, {"b", "c"}, {"a", "bc"}});
  const auto plain = make_tokenizer(spec);
  EXPECT_EQ(plain->encode("abc"), (Ids{256, 'c'}));
  EXPECT_EQ(plain->encode("abc"), (Ids{256, 'c'}));  // the same once remembered
  spec.ignore_merges = true;
  EXPECT_EQ(make_tokenizer(spec)->encode("abc"), (Ids{258}));
}

TEST(ByteBpe, LongWordsGiveWhatShortOnesDo) {
  // 2^k letters merge pairwise; the heap and the scan must agree.
  const auto tokenizer = make_tokenizer(byte_bpe({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
  EXPECT_EQ(tokenizer->encode(std::string(32, 'a')), Ids(4, 258));
  EXPECT_EQ(tokenizer->encode(std::string(8 * 1000, 'a')), Ids(1000, 258));
  EXPECT_EQ(tokenizer->encode(std::string(8 * 1000 + 3, 'a')).size(), 1002u);
}

TEST(ByteBpe, ControlTokensAreTextUnlessParsed) {
  const auto tokenizer = make_tokenizer(byte_bpe({}));
  const TokenId end = tokenizer->find("<|end|>");
  EXPECT_EQ(tokenizer->encode("a<|end|>b"), (Ids{'a', end, 'b'}));
  const Ids text = tokenizer->encode("a<|end|>b", {.parse_special = false});
  EXPECT_EQ(text.size(), 9u);
  EXPECT_EQ(tokenizer->decode(text), "a<|end|>b");
  EXPECT_EQ(tokenizer->decode(Ids{'a', end}, {.skip_special = true}), "a");
}

TEST(ByteBpe, EveryByteStringRoundTrips) {
  std::mt19937 random(1);
  for (const char* pre : {"gpt-2",       "llama-bpe",  "qwen2",     "falcon",     "deepseek-coder", "deepseek-llm",
                          "deepseek-v3", "default",    "starcoder", "gpt-4o",     "tekken",         "kimi-k2",
                          "bloom",       "viking",     "superbpe",  "bailingmoe", "seed-coder",     "youtu",
                          "qwen35",      "exaone-moe", "minicpm5",  "tiny_aya",   "chameleon"}) {
    const auto tokenizer = make_tokenizer(byte_bpe({{"t", "h"}, {"th", "e"}, {" ", "the"}}, pre));
    for (int round = 0; round < 60; ++round) {
      std::string bytes;
      const std::size_t size = random() % 200;
      while (bytes.size() < size) bytes += static_cast<char>(round % 2 == 0 ? random() : " the\n1'sé"[random() % 10]);
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(bytes, {.parse_special = false})), bytes) << pre;
    }
  }
}

TEST(ByteBpe, UnknownPreTokenizerNameHasNoSteps) { EXPECT_FALSE(pre_tokenizer_by_name("no-such-model").has_value()); }

TokenizerSpec small_spm() {
  TokenizerSpec spec;
  spec.name = "small";
  spec.type = ModelType::kSpm;
  add(spec, "<unk>", TokenKind::kUnknown);
  add(spec, "<s>", TokenKind::kControl);
  for (int byte = 0; byte < 256; ++byte) add(spec, byte_token(static_cast<unsigned char>(byte)), TokenKind::kByte);
  float score = 0;
  for (const char* piece : {"ab", "▁a", "▁ab", "▁", "a", "b", "c"}) add(spec, piece, TokenKind::kNormal, score -= 1);
  spec.special.unknown = 0;
  spec.special.bos = 1;
  spec.prefix = {1};
  spec.added = {{.id = 1}};
  spec.byte_fallback = true;
  spec.normalizer = {{.type = NormalizerStep::Type::kReplace, .pattern = " ", .content = "▁"},
                     {.type = NormalizerStep::Type::kPrepend, .content = "▁"}};
  spec.decoder.space = "▁";
  spec.decoder.byte_fallback = true;
  spec.decoder.strip_space = PrependScheme::kAlways;
  return spec;
}

TEST(Spm, BestScoreMergesFirstThenLeftmost) {
  const auto t = make_tokenizer(small_spm());
  const auto id = [&](const char* piece) { return t->find(piece); };
  EXPECT_EQ(t->encode("ab"), (Ids{1, id("▁ab")}));
  EXPECT_EQ(t->encode("aab"), (Ids{1, id("▁a"), id("ab")}));
  EXPECT_EQ(t->encode("c  b"), (Ids{1, id("▁"), id("c"), id("▁"), id("▁"), id("b")}));
  EXPECT_EQ(t->encode("é"), (Ids{1, id("▁"), id("<0xC3>"), id("<0xA9>")}));
  EXPECT_EQ(t->encode(""), (Ids{1}));
}

TEST(Spm, DecodeDropsThePrefixSpaceOnlyWhereEncodeAddsIt) {
  const auto t = make_tokenizer(small_spm());
  for (const char* text : {"", " ", "  ab", "ab ab", "é😀", "\n", "a<s>b", "a <s> b", "<s><s> a"}) {
    EXPECT_EQ(t->decode(t->encode(text, {.add_special = false})), text);
  }
  EXPECT_EQ(t->decode(t->encode("ab"), {.skip_special = true}), "ab");
  EXPECT_EQ(t->token_bytes(t->find("▁ab")), " ab");
}

TEST(Unigram, TakesTheSegmentationOfHighestScore) {
  TokenizerSpec spec;
  spec.name = "small";
  spec.type = ModelType::kUnigram;
  add(spec, "<unk>", TokenKind::kUnknown);
  add(spec, "a", TokenKind::kNormal, -1.0f);
  add(spec, "b", TokenKind::kNormal, -1.0f);
  add(spec, "ab", TokenKind::kNormal, -2.5f);   // a + b is better
  add(spec, "ba", TokenKind::kNormal, -1.5f);   // better than b + a
  add(spec, "aba", TokenKind::kNormal, -2.4f);  // better than a + ba
  spec.special.unknown = 0;
  const auto t = make_tokenizer(spec);
  EXPECT_EQ(t->encode("ab"), (Ids{1, 2}));
  EXPECT_EQ(t->encode("ba"), (Ids{4}));
  EXPECT_EQ(t->encode("aba"), (Ids{5}));
  EXPECT_EQ(t->encode("axyb"), (Ids{1, 0, 2}));  // neighbouring unknown characters are one token
}

TEST(WordPiece, LongestMatchOrUnknown) {
  TokenizerSpec spec;
  spec.name = "small";
  spec.type = ModelType::kWordPiece;
  spec.continuing_prefix = "##";
  for (const char* piece : {"[UNK]", "play", "##ing", "##in", "##s", "!", "你"}) add(spec, piece);
  spec.scores.clear();
  spec.special.unknown = 0;
  spec.normalizer = {{.type = NormalizerStep::Type::kBert}};
  spec.pre_tokenizer = {{.type = PreTokenizerStep::Type::kBert}};
  spec.decoder.wordpiece = spec.decoder.cleanup = true;
  const auto t = make_tokenizer(spec);
  EXPECT_EQ(t->encode("Playing plays! plaything 你你"), (Ids{1, 2, 1, 4, 5, 0, 6, 6}));
  EXPECT_EQ(t->encode("pl\u00e0y\u0301s"), (Ids{1, 4}));  // accents go
  EXPECT_EQ(t->decode(Ids{1, 2, 5, 1}), "playing! play");
}

TEST(AddedTokens, LongestLeftmostWithTheirFlags) {
  TokenizerSpec spec = byte_bpe({});
  const auto added = [&](const char* piece, AddedToken flags) {
    flags.id = add(spec, piece, TokenKind::kUserDefined);
    spec.added.push_back(flags);
    return flags.id;
  };
  const TokenId a = added("<x>", {.special = false}), aa = added("<x><x>", {.special = false});
  const TokenId left = added("<l>", {.special = false, .lstrip = true}),
                right = added("<r>", {.special = false, .rstrip = true});
  const TokenId word = added("cat", {.special = false, .single_word = true});
  spec.scores.clear();
  const auto t = make_tokenizer(spec);
  const auto b = [](char c) { return static_cast<TokenId>(c); };
  EXPECT_EQ(t->encode("<x><x><x>", {.parse_special = false}), (Ids{aa, a}));
  EXPECT_EQ(t->encode("a  <l>b"), (Ids{b('a'), left, b('b')}));
  EXPECT_EQ(t->encode("a<r> \n b"), (Ids{b('a'), right, b('b')}));
  EXPECT_EQ(t->encode("cat!"), (Ids{word, b('!')}));
  EXPECT_EQ(t->encode("cats"), (Ids{b('c'), b('a'), b('t'), b('s')}));
}

TEST(StreamDecoder, YieldsOnlyWholeCharactersAndWhatDecodeWrites) {
  const auto t = make_tokenizer(small_spm());
  const std::string text = "ab é日本😀 ab";
  const Ids ids = t->encode(text);
  StreamDecoder stream(*t, {.skip_special = true});
  std::string joined;
  for (const TokenId id : ids) {
    const std::string part = stream.push(id);
    EXPECT_TRUE(is_valid_utf8(part));
    joined += part;
  }
  EXPECT_EQ(joined + stream.finish(), text);
  EXPECT_EQ(joined, t->decode(ids, {.skip_special = true}));
}

TEST(StreamDecoder, UnfinishedAndInvalidBytesBecomeReplacementCharacters) {
  const auto t = make_tokenizer(small_spm());
  StreamDecoder stream(*t);
  EXPECT_EQ(stream.push(t->find("<0xE6>")), "");
  EXPECT_EQ(stream.push(t->find("<0x97>")), "");
  EXPECT_EQ(stream.pending(), 2u);
  EXPECT_EQ(stream.push(t->find("a")), "\ufffd\ufffda");
  EXPECT_EQ(stream.push(t->find("<0xFF>")), "\ufffd");
  EXPECT_EQ(stream.push(t->find("<0xF0>")), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
}

TEST(StreamDecoder, ContinuesAfterAPrompt) {
  const auto t = make_tokenizer(small_spm());
  StreamDecoder fresh(*t), after_bos(*t, {}, 1), after_text(*t, {}, t->find("b"));
  const TokenId word = t->find("▁ab");
  EXPECT_EQ(fresh.push(word), "ab");
  EXPECT_EQ(after_bos.push(word), "ab");
  EXPECT_EQ(after_text.push(word), " ab");
}

// Quadratic work on any of these would take hours.
TEST(Tokenizer, AMegabyteWithoutWordsIsLinear) {
  const auto bytes =
      make_tokenizer(byte_bpe({{"a", "a"}, {"aa", "aa"}, {" ", " "}, {"  ", "  "}, {"\xf0", "\x9f"}}, "llama-bpe"));
  const auto pieces = make_tokenizer(small_spm());
  for (const char* unit : {"a", "ab", " ", "\n", " \n", "\U0001f600", "\u4f60", "\xff", "<|end|", "'s"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    EXPECT_TRUE(bytes->decode(bytes->encode(text)) == text) << unit;
    EXPECT_TRUE(pieces->decode(pieces->encode(text), {.skip_special = true}) == text) << unit;
  }
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto t = make_tokenizer(byte_bpe({{"t", "h"}, {"th", "e"}, {" ", "the"}}));
  std::string text;
  for (int i = 0; i < 2000; ++i) text += i % 3 == 0 ? " the" : " that thing";
  const Ids expected = t->encode(text);
  std::vector<std::thread> threads;
  std::atomic<int> equal = 0;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { equal += t->encode(text) == expected; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 4);
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const auto t = make_tokenizer(small_spm());
  EXPECT_THROW(t->decode(Ids{-1}), Error);
  EXPECT_THROW(t->decode(Ids{static_cast<TokenId>(t->size())}), Error);
  EXPECT_THROW(t->piece(1 << 30), Error);
}

TEST(Tokenizer, RefusesSpecsThatDoNotFitTogether) {
  TokenizerSpec spec = small_spm();
  spec.scores.pop_back();
  EXPECT_THROW(make_tokenizer(spec), Error);
  spec = small_spm();
  spec.scores[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(make_tokenizer(spec), Error);
  spec = small_spm();
  spec.special.eos = 100000;
  EXPECT_THROW(make_tokenizer(spec), Error);
  spec = byte_bpe({});
  spec.merges.push_back({1, 2, 99999});
  EXPECT_THROW(make_tokenizer(spec), Error);
  EXPECT_THROW(make_tokenizer(TokenizerSpec{}), Error);
}

}  // namespace
}  // namespace lathe::text
