// A tokenizer on its own, from every kind of file and from what lies in or beside models.
#include "formats/load_tokenizer.h"

#include <gtest/gtest.h>

#include "support/data.h"

namespace lathe::formats {
namespace {

struct Case {
  const char* path;
  const char* family;
  std::size_t size;
};

class LoadTokenizer : public testing::TestWithParam<Case> {};

TEST_P(LoadTokenizer, RecognisesTheFile) {
  LATHE_NEED_SHARED(GetParam().path);
  const auto tokenizer = load_tokenizer(test::shared(GetParam().path));
  EXPECT_EQ(tokenizer->family(), GetParam().family);
  EXPECT_EQ(tokenizer->size(), GetParam().size);
  EXPECT_FALSE(tokenizer->encode("hello", {.add_special = false}).empty());
}

INSTANTIATE_TEST_SUITE_P(Files, LoadTokenizer,
                         testing::Values(Case{"tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf", "spm", 32000},
                                         Case{"tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf", "wordpiece", 30522},
                                         Case{"tokenizers/gpt2/encoder.json", "bpe", 50257},
                                         Case{"tokenizers/gpt2/vocab.bpe", "bpe", 50257},
                                         Case{"tokenizers/gpt2", "bpe", 50257},
                                         Case{"tokenizers/minimind/tokenizer.json", "bpe", 6400},
                                         Case{"tokenizers/bert-uncased/tokenizer.json", "wordpiece", 30522},
                                         Case{"tokenizers/llama2/tokenizer.model", "spm", 32000},
                                         Case{"tokenizers/llama2/tokenizer.bin", "spm", 32000},
                                         Case{"models/stories260K/stories260K.gguf", "spm", 512},
                                         Case{"models/stories260K/stories260K-q8.bin", "spm", 512}),
                         [](const auto& info) {
                           std::string name;
                           for (const char c : std::string(info.param.path))
                             name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

TEST(LoadTokenizerErrors, SayWhatIsWrong) {
  EXPECT_THROW(load_tokenizer("/nonexistent"), Error);
  const test::TempDir folder;
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
  LATHE_NEED_SHARED("models/gpt-nano-sort/gpt-nano-sort-model.json");
  EXPECT_THROW(load_tokenizer(test::shared("models/gpt-nano-sort/gpt-nano-sort-model.json")), Error);
}

}  // namespace
}  // namespace lathe::formats
