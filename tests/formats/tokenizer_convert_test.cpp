// A tokenizer read from one format, written to another and read back gives the same ids.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_llama2c.h"
#include "formats/tokenizer_sentencepiece.h"
#include "formats/tokenizer_tiktoken.h"
#include "support/data.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {
namespace {

using text::TokenId;
using text::TokenizerSpec;

TokenizerSpec read_any(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  if (name.ends_with(".gguf")) return read_gguf_tokenizer(read_gguf_header(map_file(file)).metadata);
  if (name.ends_with(".json")) return parse_tokenizer_json(read_file(file), name);
  if (is_tiktoken(map_file(file))) return parse_tiktoken(map_file(file));
  return parse_sentencepiece(map_file(file));
}

TokenizerSpec through_gguf(const TokenizerSpec& spec) {
  Metadata metadata("written.gguf");
  write_gguf_tokenizer(spec, metadata);
  return read_gguf_tokenizer(metadata);
}

TokenizerSpec through_json(const TokenizerSpec& spec) {
  TokenizerSpec read = parse_tokenizer_json(write_tokenizer_json(spec), "written.json");
  apply_tokenizer_config(write_tokenizer_config(spec), "written_config.json", read);
  return read;
}

std::vector<std::string> texts() {
  std::vector<std::string> all = {"",
                                  " ",
                                  "Hello world",
                                  "  two  spaces ",
                                  "naïve café, 12345 + 6.7!",
                                  "日本語 текст عربي 😀🦙",
                                  "a\n\nb\t c\r\n",
                                  "I'll don't WE'VE",
                                  "x<|im_end|>y<s>z</s>",
                                  "<unk><pad>[CLS]"};
  std::mt19937 random(3);
  static const char* kParts[] = {" the", "ing", "\n", "  ", "7", "é",   "漢字", "'s",
                                 ".",    "Z",   "_",  "\t", "😀", "wor", "ld"};
  for (int i = 0; i < 60; ++i) {
    std::string text;
    for (unsigned parts = 1 + random() % 12; parts > 0; --parts) text += kParts[random() % std::size(kParts)];
    all.push_back(text);
  }
  return all;
}

void expect_same(const TokenizerSpec& a, const TokenizerSpec& b) {
  ASSERT_EQ(a.size(), b.size());
  const auto one = text::make_tokenizer(a), other = text::make_tokenizer(b);
  for (const std::string& text : texts()) {
    const auto ids = one->encode(text);
    EXPECT_EQ(other->encode(text), ids) << text;
    EXPECT_EQ(other->decode(ids, {.skip_special = true}), one->decode(ids, {.skip_special = true})) << text;
  }
  EXPECT_EQ(a.special.bos, b.special.bos);
  EXPECT_EQ(a.special.eos, b.special.eos);
}

class Conversion : public testing::TestWithParam<const char*> {};

TEST_P(Conversion, ThroughGgufAndTokenizerJson) {
  const std::string file = GetParam();
  LATHE_NEED_SHARED(file);
  const TokenizerSpec spec = read_any(test::shared(file));
  expect_same(spec, through_gguf(spec));
  if (spec.type != text::ModelType::kTrie) expect_same(spec, through_json(spec));
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Conversion,
                         testing::Values("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf",
                                         "models/stories260K/stories260K.gguf", "tokenizers/llama3/tokenizer.model",
                                         "tokenizers/qwen/qwen.tiktoken", "tokenizers/mistral-v1/tokenizer.model.v1",
                                         "tokenizers/phi3-v/tokenizer.json", "tokenizers/minimind/tokenizer.json",
                                         "tokenizers/whisper/tokenizer.json", "tokenizers/bert-uncased/tokenizer.json",
                                         "models/smiles-gpt2_0.5m/tokenizer.json"));

TEST(Conversion, RolesComeFromTheConfigurationFiles) {
  const std::string folder = "models/smiles-gpt2_0.5m/";
  LATHE_NEED_SHARED(folder + "tokenizer.json");
  TokenizerSpec spec = parse_tokenizer_json(read_file(test::shared(folder + "tokenizer.json")), "tokenizer.json");
  apply_tokenizer_config(read_file(test::shared(folder + "tokenizer_config.json")), "tokenizer_config.json", spec);
  apply_generation_config(read_file(test::shared(folder + "generation_config.json")), "generation_config.json", spec);
  EXPECT_EQ(spec.special.bos, 13);
  EXPECT_EQ(spec.special.eos, 14);
  EXPECT_EQ(spec.special.pad, 64);
  const auto tokenizer = text::make_tokenizer(spec);
  const auto ids = tokenizer->encode("CC(=O)Nc1ccc(Br)cc1");
  EXPECT_EQ(ids.front(), 13);
  EXPECT_EQ(ids.back(), 14);
  EXPECT_EQ(tokenizer->decode(ids, {.skip_special = true}), "CC(=O)Nc1ccc(Br)cc1");
}

// The shipped model's vocabulary needs no shared data.
TEST(Conversion, ShippedVocabulary) {
  const auto file = test::source_dir() / "models/tiny/stories260K.gguf";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "SKIPPED: not present: " << file;
  const TokenizerSpec spec = read_any(file);
  const auto tokenizer = text::make_tokenizer(spec);
  EXPECT_EQ(tokenizer->encode("Once upon a time"), (std::vector<TokenId>{1, 403, 407, 261, 378}));
  for (const std::string& text : texts()) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, {.parse_special = false}), {.skip_special = true}), text);
  }
  expect_same(spec, through_gguf(spec));
  expect_same(spec, through_json(spec));
}

// decode(encode(x)) == x on a book and on random bytes, for tokenizers that do not normalise.
class RoundTrip : public testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, BookAndRandomBytes) {
  const std::string file = GetParam();
  LATHE_NEED_SHARED(file);
  LATHE_NEED_SHARED("data/books/frankenstein.txt");
  const auto tokenizer = text::make_tokenizer(read_any(test::shared(file)));
  const text::EncodeOptions plain{.add_special = false, .parse_special = false};
  const std::string book = read_file(test::shared("data/books/frankenstein.txt"));
  EXPECT_TRUE(tokenizer->decode(tokenizer->encode(book, plain)) == book);
  // Falcon's and StarCoder's vocabularies have no tokens for some bytes.
  if (file.find("falcon") != std::string::npos || file.find("starcoder") != std::string::npos) return;
  std::mt19937 random(11);
  for (int round = 0; round < 100; ++round) {
    std::string bytes(random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    EXPECT_TRUE(tokenizer->decode(tokenizer->encode(bytes, plain)) == bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, RoundTrip,
                         testing::Values("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-starcoder.gguf",
                                         "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf",
                                         "tokenizers/llama3/tokenizer.model",
                                         "tokenizers/mistral-v1/tokenizer.model.v1", "tokenizers/phi3-v/tokenizer.json",
                                         "tokenizers/minimind/tokenizer.json", "models/stories260K/stories260K.gguf"));

}  // namespace
}  // namespace lathe::formats
