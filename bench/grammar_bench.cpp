// Cost of constrained decoding per token: the mask of allowed tokens over real vocabularies, on texts a model could
// have written, some of them in grammars made to be matched in very many ways at once. "first" has compiled nothing but
// the grammar; "later" is a further text of a grammar that has been used. Counted beside the times is the most that one
// token cost: configurations that the machine looked at, and nodes of the vocabulary's trie.
// Vocabularies come from the shared data folder (LATHE_SHARED, or ../shared seen from the project's root).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <string>

#include "base/error.h"
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

// A schema of so many texts.
std::string enumeration(int values) {
  std::string schema = R"({"enum":[)";
  for (int i = 0; i < values; ++i) {
    std::string word;
    for (int n = i; n > 0; n /= 20) word += "eariotnslcudpmhgbfyw"[n % 20];
    schema += (i == 0 ? "\"" : ",\"") + word + " of them all\"";
  }
  return schema + "]}";
}

std::vector<Task> tasks() {
  const std::string person =
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},)"
      R"("email":{"type":"string","pattern":"^[a-z.]+@[a-z]+\\.com$"},"tags":{"type":"array","items":{"type":"string"}},)"
      R"("bio":{"type":"string"}},"required":["name","age","bio"]})";
  const std::string short_strings = R"({"type":"array","items":{"type":"string","minLength":1,"maxLength":200}})";
  const std::string written =
      R"({"name": "Ada Lovelace", "age": 36, "email": "ada@engine.com", "tags": ["mathematics", "poetry", "science"], )"
      R"("bio": "She wrote notes on the Analytical Engine, and with them what many call the first program."})";
  const std::string letters =
      "\"she wrote notes on the analytical engine and with them what many call the first program";
  const auto pattern = [](const std::string& text) {
    return grammar_from_json_schema(R"({"type":"string","pattern":")" + text + "\"}");
  };
  return {{"json", grammar_from_json_schema("{}"), written},
          {"schema", grammar_from_json_schema(person), written},
          {"max-length", grammar_from_json_schema(short_strings),
           R"(["She wrote notes on the Analytical Engine, and with them what many call the first program.", "ok"])"},
          {"words", parse_gbnf("root ::= word (\" \" word)*\nword ::= [a-zA-Z]+ [.,]?"),
           "She wrote notes on the Analytical Engine, and with them what many call the first program"},
          {"nested", parse_gbnf("root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\" | [0-9]+"),
           "[[[1,2],[3,[4,[5,[66]]]]],77,[[8]]]"},
          {"enum-5000", grammar_from_json_schema(enumeration(5000)), "\"hai of them all\""},
          {"counts-30-30-30", pattern("^(([a-z ]{1,30}){1,30}){1,30}Q$"), letters},
          {"counts-3-30-300", pattern("^(([a-z ]{1,3}){1,30}){1,300}Q$"), letters},
          {"counts-gbnf", parse_gbnf("root ::= x{0,1000}\nx ::= y{0,400} \"Z\"\ny ::= [a-z ]{1,400}"),
           letters.substr(1) + "Z" + letters.substr(1)},
          {"counts-mixed",
           parse_gbnf("root ::= (a | b | c){1,200} \"!\"\na ::= [a-m ]{2,9}\nb ::= [h-z ]{3,7}\n"
                      "c ::= [a-z ]{5,11} [d-w]{1,4}"),
           letters.substr(1) + "!"}};
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

void mask(benchmark::State& state, const std::string& file, const Task& task, bool first) try {
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
  Matcher::Cost most;
  for (auto _ : state) {
    if (first) masks = std::make_shared<TokenMasks>(automaton, vocabulary);
    Matcher matcher(masks);
    for (const TokenId id : ids) {
      std::string bytes = tokenizer->token_bytes(id);
      if (tokens % ids.size() == 0 && bytes.starts_with(' ')) bytes.erase(0, 1);  // SentencePiece's first space
      const Matcher::Cost before = matcher.cost();
      const double begin = cpu_seconds();
      benchmark::DoNotOptimize(matcher.allowed());
      if (!matcher.accept_bytes(bytes)) return state.SkipWithError("the text does not fit the grammar");
      const double spent = cpu_seconds() - begin;
      most.configurations = std::max(most.configurations, matcher.cost().configurations - before.configurations);
      most.trie_nodes = std::max(most.trie_nodes, matcher.cost().trie_nodes - before.trie_nodes);
      slowest = std::max(slowest, spent);
      total += spent;
      ++tokens;
    }
  }
  state.counters["us_per_token"] = total / static_cast<double>(tokens) * 1e6;
  state.counters["slowest_us"] = slowest * 1e6;
  state.counters["most_configurations"] = static_cast<double>(most.configurations);
  state.counters["most_trie_nodes"] = static_cast<double>(most.trie_nodes);
  state.counters["tokens"] = static_cast<double>(ids.size());
} catch (const Error& error) {  // the work a token may cost was used up
  state.SkipWithError(error.what());
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
