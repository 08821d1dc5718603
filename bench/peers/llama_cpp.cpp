// llama.cpp's prefill and greedy decode speed on one GGUF file, through its C API. Prints one JSON object. Built by
// compare.mjs against the prebuilt library of the npm package and the headers of the same release; no part of Lathe.
//   llama_cpp LIBRARY_FOLDER MODEL THREADS PROMPT_TOKENS GENERATED_TOKENS
#include <ggml-backend.h>
#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Feeds `tokens` and returns the likeliest next token.
llama_token feed(llama_context* context, std::vector<llama_token> tokens, int vocabulary) {
  if (llama_decode(context, llama_batch_get_one(tokens.data(), static_cast<int>(tokens.size()))) != 0) std::exit(1);
  const float* logits = llama_get_logits_ith(context, -1);
  return static_cast<llama_token>(std::max_element(logits, logits + vocabulary) - logits);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const int threads = std::atoi(argv[3]), prompt_tokens = std::atoi(argv[4]), generated = std::atoi(argv[5]);
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  ggml_backend_load_all_from_path(argv[1]);  // picks the best CPU variant for this machine
  llama_model_params model_params = llama_model_default_params();
  model_params.n_gpu_layers = 0;
  llama_model* model = llama_model_load_from_file(argv[2], model_params);
  if (model == nullptr) return 1;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = static_cast<std::uint32_t>(prompt_tokens + generated + 8);
  params.n_threads = params.n_threads_batch = threads;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return 1;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  std::vector<llama_token> prompt(static_cast<std::size_t>(prompt_tokens));
  for (int i = 0; i < prompt_tokens; ++i)
    prompt[static_cast<std::size_t>(i)] = i == 0 ? 1 : 3 + i * 7919 % (vocabulary - 3);

  double prefill = 0, decode = 0;
  for (int round = 0; round < 2; ++round) {  // the first one warms up
    llama_memory_clear(llama_get_memory(context), true);
    const double start = seconds();
    llama_token next = feed(context, prompt, vocabulary);
    const double prefilled = seconds();
    for (int i = 0; i < generated; ++i) next = feed(context, {next}, vocabulary);
    prefill = prompt_tokens / (prefilled - start);
    decode = generated / (seconds() - prefilled);
  }
  std::printf("{\"prefill\": %.3f, \"decode\": %.3f}\n", prefill, decode);
}
