// llama.cpp's prefill and greedy decode speed on one GGUF file, through its C API. Prints one JSON object. Built by
// compare.mjs against the prebuilt library of the npm package and the headers of the same release; no part of Lathe.
//   llama_cpp LIBRARY MODEL THREADS PROMPT_TOKENS GENERATED_TOKENS SEQUENCES
// LIBRARY: a folder, whose CPU variant for this machine llama.cpp picks, or the file of one variant. Speeds are those
// of all sequences together; every sequence has its own prompt.
#include <ggml-backend.h>
#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Feeds tokens[s] at `position` of each sequence s in one batch, and replaces it by the likeliest next token.
void feed(llama_context* context, std::vector<std::vector<llama_token>>& tokens, llama_pos position, int vocabulary) {
  const int sequences = static_cast<int>(tokens.size()), length = static_cast<int>(tokens[0].size());
  llama_batch batch = llama_batch_init(sequences * length, 0, 1);
  for (int sequence = 0; sequence < sequences; ++sequence) {
    for (int i = 0; i < length; ++i) {
      const int at = batch.n_tokens++;
      batch.token[at] = tokens[static_cast<std::size_t>(sequence)][static_cast<std::size_t>(i)];
      batch.pos[at] = position + i;
      batch.n_seq_id[at] = 1;
      batch.seq_id[at][0] = sequence;
      batch.logits[at] = i == length - 1;
    }
  }
  if (llama_decode(context, batch) != 0) std::exit(1);
  for (int sequence = 0; sequence < sequences; ++sequence) {
    const float* logits = llama_get_logits_ith(context, (sequence + 1) * length - 1);
    tokens[static_cast<std::size_t>(sequence)] = {
        static_cast<llama_token>(std::max_element(logits, logits + vocabulary) - logits)};
  }
  llama_batch_free(batch);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const int threads = std::atoi(argv[3]), prompt_tokens = std::atoi(argv[4]), generated = std::atoi(argv[5]);
  const int sequences = std::atoi(argv[6]);
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  if (std::filesystem::is_directory(argv[1])) {
    ggml_backend_load_all_from_path(argv[1]);
  } else if (ggml_backend_load(argv[1]) == nullptr) {
    return 1;
  }
  llama_model_params model_params = llama_model_default_params();
  model_params.n_gpu_layers = 0;
  model_params.load_mode = LLAMA_LOAD_MODE_NONE;  // memory of its own, as Lathe has: no kernel drops pages meanwhile
  llama_model* model = llama_model_load_from_file(argv[2], model_params);
  if (model == nullptr) return 1;
  llama_context_params params = llama_context_default_params();
  params.n_seq_max = static_cast<std::uint32_t>(sequences);
  params.n_ctx = static_cast<std::uint32_t>(sequences * (prompt_tokens + generated + 8));
  params.n_batch = static_cast<std::uint32_t>(sequences * prompt_tokens);
  params.n_threads = params.n_threads_batch = threads;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return 1;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  std::vector<std::vector<llama_token>> prompts(static_cast<std::size_t>(sequences));
  for (int sequence = 0; sequence < sequences; ++sequence) {
    for (int i = 0; i < prompt_tokens; ++i) {
      prompts[static_cast<std::size_t>(sequence)].push_back(i == 0 ? 1 : 3 + (i + sequence) * 7919 % (vocabulary - 3));
    }
  }

  double prefill = 0, decode = 0;
  for (int round = 0; round < 2; ++round) {  // the first one warms up
    llama_memory_clear(llama_get_memory(context), true);
    std::vector<std::vector<llama_token>> tokens = prompts;
    const double start = seconds();
    feed(context, tokens, 0, vocabulary);
    const double prefilled = seconds();
    for (int i = 0; i < generated; ++i) feed(context, tokens, prompt_tokens + i, vocabulary);
    prefill = sequences * prompt_tokens / (prefilled - start);
    decode = sequences * generated / (seconds() - prefilled);
  }
  std::printf("{\"prefill\": %.3f, \"decode\": %.3f}\n", prefill, decode);
}
