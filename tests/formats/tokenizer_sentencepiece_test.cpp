// SentencePiece models, and the other forms that the same vocabularies come in.
#include "formats/tokenizer_sentencepiece.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_llama2c.h"
#include "formats/tokenizer_plain.h"
#include "formats/tokenizer_rwkv.h"
#include "formats/tokenizer_tiktoken.h"
#include "support/data.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {
namespace {

using text::TokenId;
using Ids = std::vector<TokenId>;

std::unique_ptr<text::Tokenizer> load_model_file(const std::string& path) {
  return text::make_tokenizer(parse_sentencepiece(map_file(test::shared(path))));
}

std::vector<std::string> sample_lines() {
  std::vector<std::string> lines;
  const std::string book = read_file(test::shared("data/books/frankenstein.txt"));
  for (std::size_t at = 0; lines.size() < 400 && at < book.size();) {
    const std::size_t end = std::min(book.find('\n', at), book.size());
    lines.push_back(book.substr(at, end - at));
    at = end + 1;
  }
  for (const char* more :
       {"", " ", "   two  spaces ", "\ttab", "naïve café 日本語 😀", "\xff\xfe raw \x80", "a\nb\r\nc", "<s> </s>"}) {
    lines.emplace_back(more);
  }
  return lines;
}

// The examples in the library's own documentation (google/sentencepiece, python/README.md) for this very model.
TEST(SentencePiece, TestModelGivesTheDocumentedIds) {
  const std::string file = "tokenizers/sentencepiece-test/test_model.model";
  LATHE_NEED_SHARED(file);
  const auto tokenizer = load_model_file(file);
  EXPECT_EQ(tokenizer->family(), "unigram");
  EXPECT_EQ(tokenizer->size(), 1000u);
  EXPECT_EQ(tokenizer->encode("This is a test", {.add_special = false}), (Ids{284, 47, 11, 4, 15, 400}));
  EXPECT_EQ(tokenizer->encode("Hello world", {.add_special = false}), (Ids{151, 88, 21, 887}));
  EXPECT_EQ(tokenizer->decode(Ids{284, 47, 11, 4, 15, 400}), "This is a test");
  EXPECT_EQ(tokenizer->piece(284), "▁This");
  EXPECT_EQ(tokenizer->encode("  This   is a test ", {.add_special = false}), (Ids{284, 47, 11, 4, 15, 400}));
}

TEST(SentencePiece, UnigramRoundTripsItsTrainingText) {
  const std::string file = "tokenizers/sentencepiece-test/test_model.model";
  LATHE_NEED_SHARED(file);
  const auto tokenizer = load_model_file(file);
  const std::string text = read_file(test::shared("tokenizers/sentencepiece-test/botchan.txt"));
  std::size_t lines = 0;
  for (std::size_t at = 0; at < text.size() && lines < 500; ++lines) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    bool ascii = true;
    for (const char c : line) ascii = ascii && static_cast<unsigned char>(c) < 0x80;
    if (!ascii || line.find("  ") != std::string::npos || line.ends_with(' ') || line.starts_with(' ')) continue;
    if (line.find_first_of("\t\r") != std::string::npos) continue;  // the character map turns them into spaces
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(line)), line);
  }
}

// Llama 2's vocabulary as SentencePiece, llama2.c and GGUF files: one tokenizer.
TEST(SentencePiece, ThreeFormsOfLlama2Agree) {
  LATHE_NEED_SHARED("tokenizers/llama2/tokenizer.model");
  LATHE_NEED_SHARED("tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf");
  const auto model = load_model_file("tokenizers/llama2/tokenizer.model");
  const auto c =
      text::make_tokenizer(parse_llama2c_tokenizer(map_file(test::shared("tokenizers/llama2/tokenizer.bin"))));
  const auto gguf = text::make_tokenizer(read_gguf_tokenizer(
      read_gguf_header(map_file(test::shared("tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"))).metadata));
  ASSERT_EQ(model->size(), 32000u);
  EXPECT_EQ(c->spec().pieces, model->spec().pieces);
  EXPECT_EQ(gguf->spec().pieces, model->spec().pieces);
  EXPECT_EQ(gguf->spec().kinds, model->spec().kinds);
  for (const std::string& line : sample_lines()) {
    const Ids ids = gguf->encode(line);
    EXPECT_EQ(c->encode(line), ids) << line;
    EXPECT_EQ(model->encode(line), ids) << line;
    EXPECT_EQ(gguf->decode(gguf->encode(line, {.add_special = false, .parse_special = false})), line);
  }
}

TEST(SentencePiece, MistralReads) {
  const std::string file = "tokenizers/mistral-v1/tokenizer.model.v1";
  LATHE_NEED_SHARED(file);
  const auto tokenizer = load_model_file(file);
  EXPECT_EQ(tokenizer->special().bos, 1);
  EXPECT_EQ(tokenizer->special().eos, 2);
  for (const std::string& line : sample_lines()) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(line, {.parse_special = false}), {.skip_special = true}), line);
  }
}

TEST(Llama2c, StoriesTokenizerIsTheOneInItsGguf) {
  LATHE_NEED_SHARED("models/stories260K/tok512.bin");
  const auto c =
      text::make_tokenizer(parse_llama2c_tokenizer(map_file(test::shared("models/stories260K/tok512.bin")), 512));
  const auto gguf = text::make_tokenizer(
      read_gguf_tokenizer(read_gguf_header(map_file(test::shared("models/stories260K/stories260K.gguf"))).metadata));
  for (const std::string& line : sample_lines()) EXPECT_EQ(c->encode(line), gguf->encode(line)) << line;
}

TEST(Llama2c, PoemVocabularyReadsCharacters) {
  LATHE_NEED_SHARED("models/zh-poem/poem_tok.bin");
  const auto c =
      text::make_tokenizer(parse_llama2c_tokenizer(map_file(test::shared("models/zh-poem/poem_tok.bin")), 2048));
  EXPECT_EQ(c->decode(c->encode("主题：明月 体裁：五绝\n"), {.skip_special = true}), "主题：明月 体裁：五绝\n");
  const auto map = text::make_tokenizer(parse_word_map(map_file(test::shared("models/zh-poem/vocab.json"))));
  EXPECT_EQ(map->encode("主题", {.add_special = false}), (Ids{map->find("主"), map->find("题")}));
  EXPECT_EQ(map->decode(map->encode("主题：明月\n")), "主题：明月\n");
}

TEST(Rwkv, WorldVocabularyRoundTripsEveryByte) {
  const std::string file = "tokenizers/rwkv/rwkv_vocab_v20230424.txt";
  LATHE_NEED_SHARED(file);
  const auto tokenizer = text::make_tokenizer(parse_rwkv_vocabulary(map_file(test::shared(file))));
  EXPECT_EQ(tokenizer->size(), 65530u);
  EXPECT_EQ(tokenizer->encode("Hello world"), (Ids{33155, 40213}));
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(bytes)), bytes);
  for (const std::string& line : sample_lines()) EXPECT_EQ(tokenizer->decode(tokenizer->encode(line)), line);
}

TEST(Gpt2Files, AgreeWithTheGguf) {
  LATHE_NEED_SHARED("tokenizers/gpt2/encoder.json");
  const auto files = text::make_tokenizer(parse_gpt2_vocabulary(map_file(test::shared("tokenizers/gpt2/encoder.json")),
                                                                map_file(test::shared("tokenizers/gpt2/vocab.bpe"))));
  const auto gguf = text::make_tokenizer(read_gguf_tokenizer(
      read_gguf_header(map_file(test::shared("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"))).metadata));
  for (const std::string& line : sample_lines()) EXPECT_EQ(files->encode(line), gguf->encode(line)) << line;
}

// Whisper's rank files hold GPT-2's vocabulary, the multilingual one its own.
TEST(Tiktoken, WhisperEnglishRanksAreGpt2) {
  LATHE_NEED_SHARED("tokenizers/whisper/gpt2.tiktoken");
  const auto ranks = text::make_tokenizer(
      parse_tiktoken(map_file(test::shared("tokenizers/whisper/gpt2.tiktoken")), TiktokenFamily::kWhisperEnglish));
  const auto gguf = text::make_tokenizer(read_gguf_tokenizer(
      read_gguf_header(map_file(test::shared("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"))).metadata));
  EXPECT_EQ(ranks->size(), 51864u);
  for (const std::string& line : sample_lines()) {
    EXPECT_EQ(ranks->encode(line, {.add_special = false}), gguf->encode(line, {.add_special = false})) << line;
  }
}

TEST(Tiktoken, WhisperControlsStandWhereItsTokenizerJsonHasThem) {
  LATHE_NEED_SHARED("tokenizers/whisper/multilingual.tiktoken");
  const auto spec = parse_tiktoken(map_file(test::shared("tokenizers/whisper/multilingual.tiktoken")));
  ASSERT_EQ(spec.size(), 51865u);
  EXPECT_EQ(spec.pieces[50257], "<|endoftext|>");
  EXPECT_EQ(spec.pieces[50258], "<|startoftranscript|>");
  EXPECT_EQ(spec.pieces[50357], "<|su|>");
  EXPECT_EQ(spec.pieces[50363], "<|notimestamps|>");
  EXPECT_EQ(spec.pieces[51864], "<|30.00|>");
}

}  // namespace
}  // namespace lathe::formats
