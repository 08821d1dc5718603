// Cost of constrained decoding per token: the mask of allowed tokens over real vocabularies, on texts a model could
// have written. "first" has compiled nothing but the grammar; "later" is a further text
// of a grammar that has been used.
// Vocabularies come from the shared data folder (LATHE_SHARED, or ../shared seen from the project's root).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <string>

#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/tokenizer_gguf.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/token_masks.h"
#include "text/tokenizer_spec.h"

namespace lathe::text::grammar {
namespace {

struct Task {
  std::string name;
  Grammar grammar;
  std::string text;
};

std::vector<Task> tasks() {
  const std::string person =
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},)"
      R"("email":{"type":"string","pattern":"^[a-z.]+@[a-z]+\\.com$"},"tags":{"type":"array","items":{"type":"string"}},)"
      R"("bio":{"type":"string"}},"required":["name","age","bio"]})";
  const std::string short_strings = R"({"type":"array","items":{"type":"string","minLength":1,"maxLength":200}})";
  const std::string written =
      R"({"name": "Ada Lovelace", "age": 36, "email": "ada@engine.com", "tags": ["mathematics", "poetry", "science"], )"
      R"("bio": "She wrote notes on the Analytical Engine, and with them what many call the first program."})";
  return {{"json", grammar_from_json_schema("{}"), written},
          {"schema", grammar_from_json_schema(person), written},
          {"max-length", grammar_from_json_schema(short_strings),
           R"(["She wrote notes on the Analytical Engine, and with them what many call the first program.", "ok"])"},
          {"words", parse_gbnf("root ::= word (\" \" word)*\nword ::= [a-zA-Z]+ [.,]?"),
           "She wrote notes on the Analytical Engine, and with them what many call the first program"},
          {"nested", parse_gbnf("root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\" | [0-9]+"),
           "[[[1,2],[3,[4,[5,[66]]]]],77,[[8]]]"}};
}

const std::map<std::string, std::string>& vocabularies() {
  static const std::map<std::string, std::string> kPaths = {{"llama2-32k", "ggml-vocab-llama-spm.gguf"},
                                                            {"gpt2-50k", "ggml-vocab-gpt-2.gguf"},
                                                            {"falcon-65k", "ggml-vocab-falcon.gguf"}};
  return kPaths;
}

// Of this thread: other work on the machine does not count.
double cpu_seconds() {
  std::timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void mask(benchmark::State& state, const std::string& file, const Task& task, bool first) {
  const char* folder = std::getenv("LATHE_SHARED");
  const auto path = std::filesystem::path(folder != nullptr ? folder : "../shared") / "tokenizers/ggml-vocab" / file;
  if (!std::filesystem::exists(path)) return state.SkipWithError("the vocabulary is not present");
  const auto tokenizer =
      make_tokenizer(formats::read_gguf_tokenizer(formats::read_gguf_header(map_file(path)).metadata));
  const auto vocabulary = std::make_shared<Vocabulary>(*tokenizer);
  const auto automaton = std::make_shared<Automaton>(task.grammar);
  auto masks = std::make_shared<TokenMasks>(automaton, vocabulary);
  const std::vector<TokenId> ids = tokenizer->encode(task.text, {.add_special = false});
  double slowest = 0, total = 0;
  std::size_t tokens = 0;
  for (auto _ : state) {
    if (first) masks = std::make_shared<TokenMasks>(automaton, vocabulary);
    Matcher matcher(masks);
    for (const TokenId id : ids) {
      std::string bytes = tokenizer->token_bytes(id);
      if (tokens % ids.size() == 0 && bytes.starts_with(' ')) bytes.erase(0, 1);  // SentencePiece's first space
      const double begin = cpu_seconds();
      benchmark::DoNotOptimize(matcher.allowed());
      if (!matcher.accept_bytes(bytes)) return state.SkipWithError("the text does not fit the grammar");
      const double spent = cpu_seconds() - begin;
      slowest = std::max(slowest, spent);
      total += spent;
      ++tokens;
    }
  }
  state.counters["us_per_token"] = total / static_cast<double>(tokens) * 1e6;
  state.counters["slowest_us"] = slowest * 1e6;
  state.counters["tokens"] = static_cast<double>(ids.size());
}

}  // namespace
}  // namespace lathe::text::grammar

int main(int argc, char** argv) {
  using namespace lathe::text::grammar;
  for (const auto& [name, file] : vocabularies()) {
    for (const Task& task : tasks()) {
      for (const bool first : {true, false}) {
        benchmark::RegisterBenchmark(("mask/" + name + "/" + task.name + (first ? "/first" : "/later")).c_str(),
                                     [file = file, task, first](benchmark::State& s) { mask(s, file, task, first); })
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
