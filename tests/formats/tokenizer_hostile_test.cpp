// Malformed tokenizer files: each fault is an Error that names the file, soon and without much memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_llama2c.h"
#include "formats/tokenizer_plain.h"
#include "formats/tokenizer_rwkv.h"
#include "formats/tokenizer_sentencepiece.h"
#include "formats/tokenizer_tiktoken.h"
#include "support/data.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {
namespace {

using text::TokenizerSpec;

Bytes bytes(std::string_view text) { return Bytes::copy_of(text, "bad.file"); }

// Reads, builds and uses; returns the message, or "" when all went well.
std::string outcome(const std::function<TokenizerSpec()>& read) {
  const auto start = std::chrono::steady_clock::now();
  std::string message;
  try {
    const auto tokenizer = text::make_tokenizer(read());
    const auto ids = tokenizer->encode("Hello <s> world \xff 123\n");
    tokenizer->decode(ids);
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  return message;
}

void expect_error(const std::string& message, const char* part) {
  EXPECT_NE(message.find("bad.file"), std::string::npos) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

std::string json_error(const std::string& text) {
  return outcome([&] { return parse_tokenizer_json(text, "bad.file"); });
}

TEST(HostileJson, NamesTheFault) {
  expect_error(json_error(""), "invalid JSON");
  expect_error(json_error("[1, 2]"), "not an object");
  expect_error(json_error("{}"), "model");
  expect_error(json_error(R"({"model": {"type": "Magic", "vocab": {"a": 0}}})"), "Magic");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})"), "id 0");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})"), "vocab");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}})"), "4000000000");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": "x"}, "merges": []}})"), "vocab");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})"), "\"ab\"");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": ["a q"]}})"), "\"q\"");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})"), "not two pieces");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "a", "a"]]}})"), "merges");
  expect_error(json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", ""]]}})"), "");
  expect_error(json_error(R"({"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", -1.0]]}})"), "unk_id");
  expect_error(json_error(R"({"model": {"type": "Unigram", "vocab": [["a", -1.0], ["a", -2.0]]}})"), "both spelled");
  expect_error(json_error(R"({"model": {"type": "Unigram", "vocab": {"a": 1}}})"), "form");
  const std::string model = R"("model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})";
  expect_error(
      json_error(R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}, )" +
                 model),
      "regular expression");
  expect_error(json_error(R"({"pre_tokenizer": {"type": "Nonsense"}, )" + model), "Nonsense");
  expect_error(json_error(R"({"normalizer": {"type": "Nonsense"}, )" + model), "Nonsense");
  expect_error(json_error(R"({"decoder": {"type": "Nonsense"}, )" + model), "Nonsense");
  expect_error(
      json_error(R"({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}, )" +
                 model),
      "x");
  expect_error(
      json_error(R"({"post_processor": {"type": "BertProcessing", "sep": ["x", 99], "cls": ["y", 0]}, )" + model),
      "99");
  expect_error(json_error(R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////"}, )" + model),
               "character map");
  expect_error(json_error(R"({"added_tokens": [{"id": 99999999, "content": "x"}], )" + model), "99999999");
  // Chains of replacements that grow without end are stopped, and so are very many steps.
  std::string grow = R"({"normalizer": {"type": "Sequence", "normalizers": [)";
  for (int i = 0; i < 40; ++i) {
    grow += std::string(i ? "," : "") + R"({"type": "Replace", "pattern": {"String": "o"}, "content": "oooooooooo"})";
  }
  expect_error(json_error(grow + "]}, " + model), "makes more than");
  std::string steps = R"({"normalizer": {"type": "Sequence", "normalizers": [)";
  for (int i = 0; i < 10000; ++i) {
    steps += std::string(i ? "," : "") + R"({"type": "Replace", "pattern": {"Regex": "o"}, "content": ""})";
  }
  expect_error(json_error(steps + "]}, " + model), "steps");
  std::string deep = R"({"x": )";
  deep.append(1 << 20, '[');
  expect_error(json_error(deep), "nested");
  // A pattern that backtracks without end fails on use.
  const std::string hard =
      R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}, )" + model;
  const auto tokenizer = text::make_tokenizer(parse_tokenizer_json(hard, "bad.file"));
  EXPECT_THROW(tokenizer->encode(std::string(3000, 'a') + "b"), Error);
}

std::string added_token(int id, const std::string& content) {
  return R"({"id":)" + std::to_string(id) + R"(,"content":")" + content + R"("})";
}

// Processor seconds that reading this list of added tokens takes.
double seconds_to_read_added(int count, const std::function<std::string(int)>& entry) {
  std::string text = R"({"model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0}}, "added_tokens": [)";
  for (int i = 0; i < count; ++i) text += (i ? "," : "") + entry(i);
  text += "]}";
  const std::clock_t start = std::clock();
  parse_tokenizer_json(text, "bad.file");
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

// Entries that repeat an id, leave ids out, or all end a turn cost what as many plain entries cost, up to a factor
// that a quadratic reader exceeds by far: 10^5 entries of 100 ns each against 10^10 steps.
TEST(HostileJson, AddedTokensAreReadInLinearTime) {
  constexpr int kCount = 100'000;
  const double plain =
      seconds_to_read_added(kCount, [](int i) { return added_token(i + 1, "<" + std::to_string(i) + ">"); });
  const double repeated = seconds_to_read_added(
      kCount, [](int i) { return added_token(std::min(i + 1, kCount / 2), "<" + std::to_string(i) + ">"); });
  const double holes =
      seconds_to_read_added(kCount, [](int i) { return added_token(2 * i + 1, "<" + std::to_string(i) + ">"); });
  const double bound = 4 * plain + 0.2;
  EXPECT_LT(repeated, bound);
  EXPECT_LT(holes, bound);
}

TEST(HostileJson, ManyEndTokensAreReadInLinearTime) {
  constexpr std::size_t kCount = 300'000;
  TokenizerSpec spec;
  spec.name = "bad.file";
  spec.pieces.assign(kCount, "<|im_end|>");
  spec.kinds.assign(kCount, text::TokenKind::kNormal);
  std::string ids = "0";
  for (std::size_t id = 1; id < kCount; ++id) ids += "," + std::to_string(id);
  const std::clock_t start = std::clock();
  apply_generation_config("{\"eos_token_id\": [" + ids + "," + ids + "]}", "bad.file", spec);
  text::find_end_of_generation(spec);
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 1.0);
  EXPECT_EQ(spec.special.end_of_generation.size(), kCount);
  EXPECT_EQ(spec.added.size(), kCount);
  EXPECT_EQ(spec.added.back().id, static_cast<text::TokenId>(kCount - 1));
}

TEST(HostileJson, SmallFilesWithManyEntriesStaySmall) {
  std::string many = R"({"model": {"type": "WordLevel", "unk_token": "0", "vocab": {)";
  for (int i = 0; i < 60000; ++i) many += (i ? ",\"" : "\"") + std::to_string(i) + "\":" + std::to_string(i);
  EXPECT_EQ(json_error(many + "}}}"), "");
  std::string added = R"({"added_tokens": [)";
  for (int i = 0; i < 8000; ++i) {
    added += std::string(i ? "," : "") + "{\"id\":" + std::to_string(i + 1) + ",\"content\":\"<" + std::to_string(i) +
             ">\",\"special\":true}";
  }
  EXPECT_EQ(json_error(added + R"(], "model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0}}})"), "");
}

std::string piece_field(std::string_view piece, float score, int kind) {
  std::string message = "\x0a";
  message += static_cast<char>(piece.size());
  message += piece;
  message += '\x15';
  message.append(reinterpret_cast<const char*>(&score), 4);
  message += '\x18';
  message += static_cast<char>(kind);
  return std::string("\x0a") + static_cast<char>(message.size()) + message;
}

std::string sentencepiece_error(const std::string& text) {
  return outcome([&] { return parse_sentencepiece(bytes(text)); });
}

TEST(HostileSentencePiece, NamesTheFault) {
  const std::string good = piece_field("<unk>", 0, 2) + piece_field("a", -1, 1);
  EXPECT_EQ(sentencepiece_error(good), "");
  expect_error(sentencepiece_error(""), "no pieces");
  expect_error(sentencepiece_error("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "cut off");
  expect_error(sentencepiece_error("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "64 bits");
  expect_error(sentencepiece_error("\x07"), "SentencePiece");
  expect_error(sentencepiece_error(good + piece_field("a", -2, 1)), "both spelled");
  expect_error(sentencepiece_error(good + piece_field("b", std::numeric_limits<float>::quiet_NaN(), 1)), "finite");
  expect_error(sentencepiece_error(good + piece_field("b", 0, 9)), "type 9");
  expect_error(sentencepiece_error(good + std::string("\x12\x02\x18\x09", 4)), "model type 9");
  expect_error(sentencepiece_error(good + std::string("\x1a\x06\x12\x04\xff\xff\xff\x7f", 8)), "character map");
}

TEST(HostileLlama2c, NamesTheFault) {
  const auto error = [](std::string_view text, std::uint64_t size) {
    return outcome([&] { return parse_llama2c_tokenizer(bytes(text), size); });
  };
  expect_error(error("", 3), "");
  expect_error(error(std::string_view("\xff\xff\xff\xff", 4), 3), "longest");
  expect_error(error(std::string_view("\x05\0\0\0\0\0\0\0\x7f\0\0\0", 12), 3), "127 bytes");
  expect_error(error(std::string_view("\x05\0\0\0\0\0\0\0\x01\0\0\0a", 13), 1ull << 60), "");
}

TEST(HostileRankFiles, NameTheFault) {
  const auto tiktoken = [](std::string_view text) {
    return outcome([&] { return parse_tiktoken(bytes(text), TiktokenFamily::kGpt2); });
  };
  EXPECT_EQ(tiktoken("YQ== 0\nYg== 1\nYWI= 2\n"), "");
  expect_error(tiktoken("YQ== 0\n!!!! 1\n"), "line 2");
  expect_error(tiktoken("YQ== 99999999999999999999\n"), "line 1");
  expect_error(tiktoken("YQ== 4000000\n"), "out of order");
  expect_error(tiktoken("YQ== 1\nYg== 0\n"), "out of order");
  expect_error(tiktoken("YQ== 0\nYQ== 1\n"), "both spelled");
  expect_error(outcome([&] { return parse_tiktoken(bytes("YQ== 0\n")); }), "cannot tell");
  const auto rwkv = [](std::string_view text) { return outcome([&] { return parse_rwkv_vocabulary(bytes(text)); }); };
  EXPECT_EQ(rwkv("1 'a' 1\n2 b'\\xff' 1\n"), "");
  expect_error(rwkv("1 'a' 2\n"), "1 bytes, not 2");
  expect_error(rwkv("1 'a 1\n"), "line 1");
  expect_error(rwkv("1 '\\q' 1\n"), "escape");
  expect_error(rwkv("2 'a' 1\n1 'b' 1\n"), "out of order");
}

Metadata gguf(const std::string& model) {
  Metadata m("bad.file");
  m.set("tokenizer.ggml.model", MetaValue::string(model));
  m.set("tokenizer.ggml.pre", MetaValue::string("gpt-2"));
  m.set("tokenizer.ggml.tokens", MetaValue::strings({"a", "b", "ab"}));
  m.set("tokenizer.ggml.scores", MetaValue::f32s({0, -1, -2}));
  m.set("tokenizer.ggml.merges", MetaValue::strings({"a b"}));
  m.set("tokenizer.ggml.bos_token_id", MetaValue::u32(0));
  m.set("tokenizer.ggml.eos_token_id", MetaValue::u32(1));
  return m;
}

TEST(HostileGguf, NamesTheFault) {
  const auto error = [](const char* key, MetaValue value, const std::string& model = "gpt2") {
    Metadata m = gguf(model);
    m.set(key, std::move(value));
    return outcome([&] { return read_gguf_tokenizer(m); });
  };
  EXPECT_EQ(outcome([] { return read_gguf_tokenizer(gguf("gpt2")); }), "");
  EXPECT_EQ(outcome([] { return read_gguf_tokenizer(gguf("llama")); }), "");
  expect_error(error("tokenizer.ggml.model", MetaValue::string("magic")), "magic");
  expect_error(error("tokenizer.ggml.pre", MetaValue::string("no-such-model")), "no-such-model");
  expect_error(error("tokenizer.ggml.merges", MetaValue::strings({"a c"})), "\"c\"");
  expect_error(error("tokenizer.ggml.merges", MetaValue::strings({"b a"})), "\"ba\"");
  expect_error(error("tokenizer.ggml.merges", MetaValue::strings({"ab"})), "not two pieces");
  expect_error(error("tokenizer.ggml.merges", MetaValue::strings({" a"})), "not two pieces");
  expect_error(error("tokenizer.ggml.tokens", MetaValue::strings({"a", "a", "ab"}), "llama"), "both spelled");
  expect_error(error("tokenizer.ggml.tokens", MetaValue::u32(3)), "tokens");
  expect_error(error("tokenizer.ggml.eos_token_id", MetaValue::u32(77)), "77");
  expect_error(error("tokenizer.ggml.token_type", MetaValue::i32s({1, 1})), "token_type");
  expect_error(error("tokenizer.ggml.token_type", MetaValue::i32s({1, 1, 42})), "42");
  expect_error(error("tokenizer.ggml.scores", MetaValue::f32s({0})), "scores");
  expect_error(error("tokenizer.ggml.scores", MetaValue::f32s({0, 1, std::numeric_limits<float>::infinity()}), "llama"),
               "finite");
  expect_error(error("tokenizer.ggml.precompiled_charsmap", MetaValue::string("x"), "t5"), "charsmap");
}

// Cut and damaged real files: any outcome but a crash, a hang or an unbounded allocation.
TEST(HostileFiles, CutAndFlippedFilesNeverCrash) {
  const std::vector<std::pair<std::string, std::function<TokenizerSpec(const Bytes&)>>> readers = {
      {"tokenizers/sentencepiece-test/test_model.model", [](const Bytes& b) { return parse_sentencepiece(b); }},
      {"models/stories260K/tok512.bin", [](const Bytes& b) { return parse_llama2c_tokenizer(b); }},
      {"models/smiles-gpt2_0.5m/tokenizer.json",
       [](const Bytes& b) { return parse_tokenizer_json(b.text(), b.name()); }},
      {"tokenizers/minimind/tokenizer.json", [](const Bytes& b) { return parse_tokenizer_json(b.text(), b.name()); }},
      {"models/stories260K/stories260K.gguf",
       [](const Bytes& b) { return read_gguf_tokenizer(read_gguf_header(b).metadata); }}};
  std::mt19937 random(5);
  for (const auto& [file, read] : readers) {
    LATHE_NEED_SHARED(file);
    const std::string whole = read_file(test::shared(file)).substr(0, 60000);
    for (int round = 0; round < 40; ++round) {
      std::string damaged = whole;
      if (round % 2 == 0) damaged.resize(random() % damaged.size());
      for (unsigned flips = random() % 5; flips > 0 && !damaged.empty(); --flips)
        damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
      const auto& parse = read;  // clang 14 cannot capture a structured binding
      outcome([&] { return parse(Bytes::copy_of(damaged, "bad.file")); });
    }
  }
}

}  // namespace
}  // namespace lathe::formats
