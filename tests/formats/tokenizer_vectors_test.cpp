// The shared vocabularies against the token ids recorded for them: pairs of a text file, its texts separated by a
// marker line, and a file with the ids of each text on one line.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_tiktoken.h"
#include "support/data.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {
namespace {

using text::TokenId;

struct Vector {
  std::string text;
  std::vector<TokenId> ids;
};

std::vector<Vector> read_vectors(const std::string& stem) {
  const std::string marker = "\n__ggml_vocab_test__\n";
  const std::string texts = read_file(stem + ".inp"), ids = read_file(stem + ".out");
  std::vector<Vector> vectors;
  for (std::size_t at = 0;;) {
    const std::size_t end = texts.find(marker, at);
    vectors.push_back({texts.substr(at, end == std::string::npos ? end : end - at), {}});
    if (end == std::string::npos) break;
    at = end + marker.size();
  }
  vectors.pop_back();  // a marker ends the last text too
  std::istringstream lines(ids);
  std::string line;
  for (Vector& vector : vectors) {
    if (!std::getline(lines, line)) throw Error("fewer lines of ids than texts", stem);
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) vector.ids.push_back(id);
  }
  if (std::getline(lines, line)) throw Error("more lines of ids than texts", stem);
  return vectors;
}

std::string vocab_path(const std::string& name) {
  if (name == "stories260K") return "models/stories260K/stories260K.gguf";
  if (name == "stories3M") return "models/stories3M-q80/stories3M-f16.gguf";
  return "tokenizers/ggml-vocab/ggml-vocab-" + name + ".gguf";
}

std::unique_ptr<text::Tokenizer> load_gguf(const std::string& name) {
  const Bytes bytes = map_file(test::shared(vocab_path(name)));
  return text::make_tokenizer(read_gguf_tokenizer(read_gguf_header(bytes).metadata));
}

void expect_vectors(const text::Tokenizer& tokenizer, const std::vector<Vector>& vectors, bool round_trip) {
  ASSERT_GE(vectors.size(), 40u);
  for (const Vector& vector : vectors) {
    EXPECT_EQ(tokenizer.encode(vector.text, {.add_special = false, .parse_special = false}), vector.ids) << vector.text;
    if (round_trip) {
      EXPECT_EQ(tokenizer.decode(vector.ids), vector.text);
    }
  }
}

class VocabVectors : public testing::TestWithParam<std::string> {};

TEST_P(VocabVectors, EncodesAndDecodesEveryLine) {
  const std::string stem = "tokenizers/ggml-vocab/ggml-vocab-" + GetParam() + ".gguf";
  LATHE_NEED_SHARED(stem);
  const auto tokenizer = load_gguf(GetParam());
  expect_vectors(*tokenizer, read_vectors(test::shared(stem).string()), GetParam() != "bert-bge");
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, VocabVectors,
                         testing::Values("bert-bge", "deepseek-coder", "falcon", "gpt-2", "llama-spm", "mpt",
                                         "starcoder"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

// The vectors named llama-bpe and qwen2 come without a vocabulary; the models' rank files have the same ids.
TEST(TiktokenVectors, Llama3RanksReproduceLlamaBpe) {
  const std::string file = "tokenizers/llama3/tokenizer.model",
                    stem = "tokenizers/ggml-vocab/ggml-vocab-llama-bpe.gguf";
  LATHE_NEED_SHARED(file);
  const auto tokenizer = text::make_tokenizer(parse_tiktoken(map_file(test::shared(file))));
  expect_vectors(*tokenizer, read_vectors(test::shared(stem).string()), true);
  EXPECT_EQ(tokenizer->size(), 128256u);
  EXPECT_EQ(tokenizer->find("<|eot_id|>"), 128009);
  EXPECT_EQ(tokenizer->encode("Hi"), (std::vector<TokenId>{128000, 13347}));
}

TEST(TiktokenVectors, QwenRanksReproduceQwen2) {
  const std::string file = "tokenizers/qwen/qwen.tiktoken", stem = "tokenizers/ggml-vocab/ggml-vocab-qwen2.gguf";
  LATHE_NEED_SHARED(file);
  const auto tokenizer = text::make_tokenizer(parse_tiktoken(map_file(test::shared(file))));
  expect_vectors(*tokenizer, read_vectors(test::shared(stem).string()), true);
  EXPECT_EQ(tokenizer->find("<|im_end|>"), 151645);
}

// Where llama.cpp departs from BERT: a "\u2581" in the text meets the mark that GGUF puts before words, and Hangul is
// not taken apart by its accent stripping (NFD). tests/golden/tokenizers has the ids of the original rules.
bool departs(const std::string& vocabulary, std::size_t text) {
  return vocabulary == "bert-bge" && (text == 12 || text == 25);
}

// 30 texts, recorded from llama.cpp (tests/golden/peer/README.md).
class PeerTokenization : public testing::TestWithParam<std::string> {};

TEST_P(PeerTokenization, GivesTheSameIds) {
  LATHE_NEED_SHARED(vocab_path(GetParam()));
  const Json golden = parse_json(read_file(test::golden("golden/peer/tokenize.json")), "tokenize.json");
  const auto tokenizer = load_gguf(GetParam());
  const auto& texts = golden["texts"];
  bool found = false;
  for (const Json& vocabulary : golden["vocabularies"]) {
    if (vocabulary["name"] != GetParam()) continue;
    found = true;
    const Json& parsed = vocabulary["ids_with_special_parsed_where_different"];
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (departs(GetParam(), i)) continue;
      const auto text = texts[i].get<std::string>();
      const auto ids = vocabulary["ids"][i].get<std::vector<TokenId>>();
      EXPECT_EQ(tokenizer->encode(text, {.add_special = true, .parse_special = false}), ids) << i << ": " << text;
      const std::string key = std::to_string(i);
      const auto with_special = parsed.contains(key) ? parsed[key].get<std::vector<TokenId>>() : ids;
      EXPECT_EQ(tokenizer->encode(text, {.add_special = true, .parse_special = true}), with_special)
          << i << ": " << text;
    }
  }
  EXPECT_TRUE(found);
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, PeerTokenization,
                         testing::Values("stories260K", "stories3M", "baichuan", "bert-bge", "deepseek-coder", "falcon",
                                         "gpt-2", "gpt-neox", "llama-spm", "mpt", "starcoder"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace lathe::formats
