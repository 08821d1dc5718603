// The shared vocabularies against the token ids recorded for them: pairs of a text file, its texts separated by a
// marker line, and a file with the ids of each text on one line.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
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
  std::istringstream lines(ids);
  std::string line;
  for (Vector& vector : vectors) {
    if (!std::getline(lines, line)) break;
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) vector.ids.push_back(id);
  }
  return vectors;
}

std::unique_ptr<text::Tokenizer> load_gguf(const std::string& name) {
  const Bytes bytes = map_file(test::shared("tokenizers/ggml-vocab/ggml-vocab-" + name + ".gguf"));
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

}  // namespace
}  // namespace lathe::formats
