// The table of verbs: one function and one file each.
#pragma once

#include <span>
#include <string_view>

#include "cli/options.h"

namespace lathe::cli {

struct Verb {
  std::string_view name;
  std::string_view summary;         // one line of `lathe --help`
  int (*run)(Arguments arguments);  // everything after the verb; returns the exit status, throws Error
};

std::span<const Verb> verbs();
// What `lathe VERB NAME ...` runs where NAME is a word of the verb's own: "matmul" of "bench". Empty for other verbs.
std::span<const Verb> inner_verbs(std::string_view verb);

int run_verb(Arguments arguments);
int chat_verb(Arguments arguments);
int tokenize_verb(Arguments arguments);
int info_verb(Arguments arguments);
int convert_verb(Arguments arguments);
int synth_verb(Arguments arguments);
int embed_verb(Arguments arguments);
int logits_verb(Arguments arguments);
int perplexity_verb(Arguments arguments);
int serve_verb(Arguments arguments);
int bench_verb(Arguments arguments);
int bench_matmul_verb(Arguments arguments);     // lathe bench matmul
int bench_attention_verb(Arguments arguments);  // lathe bench attention
int bench_serve_verb(Arguments arguments);      // lathe bench serve
int quantize_verb(Arguments arguments);
int compare_verb(Arguments arguments);
int list_verb(Arguments arguments);
int pull_verb(Arguments arguments);
int completion_verb(Arguments arguments);
int run_program_verb(Arguments arguments);

}  // namespace lathe::cli
