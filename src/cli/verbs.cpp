// Adding a verb is a file, a line here and in verbs.h, a test and a page under docs/verbs/.
#include "cli/verbs.h"

namespace lathe::cli {

std::span<const Verb> verbs() {
  static constexpr Verb kVerbs[] = {
      {"run", "generate text from a prompt", run_verb},
      {"chat", "talk with a model", chat_verb},
      {"tokenize", "text to token ids, and back", tokenize_verb},
      {"info", "what a model file holds: architecture, tensors, sizes", info_verb},
      {"convert", "rewrite a model in another format or number type", convert_verb},
      {"synth", "write a model of a given shape with random weights, for benchmarks", synth_verb},
      {"embed", "one vector per line of text", embed_verb},
      {"logits", "raw outputs of a model, for parity checks", logits_verb},
      {"perplexity", "how well a model predicts a text", perplexity_verb},
      {"serve", "answer requests over HTTP, as OpenAI's API", serve_verb},
      {"run-program", "run a graph of calls joined by variables", run_program_verb},
      {"bench", "measure prefill and decode speed", bench_verb},
      {"quantize", "compress a model", quantize_verb},
      {"compare", "models side by side: size, quality, speed", compare_verb},
      {"list", "the models that a name is enough for", list_verb},
      {"pull", "fetch a model from the web", pull_verb},
      {"completion", "a script that lets the shell complete verbs and options", completion_verb},
  };
  return kVerbs;
}

std::span<const Verb> inner_verbs(std::string_view verb) {
  static constexpr Verb kBench[] = {
      {"matmul", "time single linear layers", bench_matmul_verb},
      {"attention", "time one layer's attention", bench_attention_verb},
      {"serve", "measure a server under load", bench_serve_verb},
  };
  return verb == "bench" ? std::span<const Verb>(kBench) : std::span<const Verb>();
}

}  // namespace lathe::cli
