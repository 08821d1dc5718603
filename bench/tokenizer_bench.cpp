// Speed of the tokenizers: English text, adversarial text, and construction. Vocabularies and text come from the shared
// data folder (LATHE_SHARED, or ../shared seen from the project's root); a benchmark without its data reports an error.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_tiktoken.h"
#include "text/tokenizer_spec.h"

namespace lathe {
namespace {

std::filesystem::path shared(const std::string& path) {
  const char* folder = std::getenv("LATHE_SHARED");
  return std::filesystem::path(folder != nullptr ? folder : "../shared") / path;
}

text::TokenizerSpec read_spec(const std::string& path) {
  const std::filesystem::path file = shared(path);
  if (path.ends_with(".gguf")) return formats::read_gguf_tokenizer(formats::read_gguf_header(map_file(file)).metadata);
  if (path.ends_with(".json")) return formats::parse_tokenizer_json(read_file(file), path);
  return formats::parse_tiktoken(map_file(file));
}

const std::map<std::string, std::string>& vocabularies() {
  static const std::map<std::string, std::string> kPaths = {
      {"llama3", "tokenizers/llama3/tokenizer.model"},
      {"qwen", "tokenizers/qwen/qwen.tiktoken"},
      {"gpt2", "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"},
      {"falcon", "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf"},
      {"deepseek-coder", "tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf"},
      {"llama2", "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"},
      {"stories260K", "models/stories260K/stories260K.gguf"},
      {"phi3", "tokenizers/phi3-v/tokenizer.json"},
      {"t5", "tokenizers/t5-small/tokenizer.json"},
      {"bert", "tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf"},
      {"neox", "tokenizers/gpt-neox-20b/20B_tokenizer.json"},
  };
  return kPaths;
}

std::string repeated(std::string_view unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

void encode(benchmark::State& state, const std::string& vocabulary, const std::function<std::string()>& make_text) {
  try {
    const auto tokenizer = text::make_tokenizer(read_spec(vocabularies().at(vocabulary)));
    const std::string text = make_text();
    std::size_t tokens = 0;
    for (auto _ : state) tokens = tokenizer->encode(text).size();
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
    state.counters["tokens"] = static_cast<double>(tokens);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

void construct(benchmark::State& state, const std::string& vocabulary) {
  try {
    for (auto _ : state) benchmark::DoNotOptimize(text::make_tokenizer(read_spec(vocabularies().at(vocabulary))));
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

const int kRegistered = [] {
  const std::map<std::string, std::function<std::string()>> texts = {
      {"english", [] { return read_file(shared("data/books/frankenstein.txt")); }},
      {"one_letter", [] { return repeated("a", 1 << 20); }},
      {"spaces", [] { return repeated(" ", 1 << 20); }},
      {"emoji", [] { return repeated("😀🦙", 1 << 20); }},
      {"newlines", [] { return repeated(" \n", 1 << 20); }},
      {"hanzi", [] { return repeated("我想在工作天", 1 << 20); }},
  };
  for (const auto& [text_name, make_text] : texts) {
    for (const auto& [vocabulary, path] : vocabularies()) {
      benchmark::RegisterBenchmark(("encode/" + text_name + "/" + vocabulary).c_str(), [vocabulary = vocabulary,
                                                                                        make_text = make_text](
                                                                                           benchmark::State& state) {
        encode(state, vocabulary, make_text);
      })->Unit(benchmark::kMillisecond);
    }
  }
  for (const auto& [vocabulary, path] : vocabularies()) {
    benchmark::RegisterBenchmark(("construct/" + vocabulary).c_str(), [vocabulary =
                                                                           vocabulary](benchmark::State& state) {
      construct(state, vocabulary);
    })->Unit(benchmark::kMillisecond);
  }
  return 0;
}();

}  // namespace
}  // namespace lathe
