// A load for OpenAI-compatible servers: streamed completions over plain HTTP from one thread, and how long their tokens
// took. Closed loop: so many streams, each asking again when it has its answer. Open loop: requests at random times.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/cancel.h"

namespace lathe::serve {

struct LoadOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;
  std::string model, api_key;                           // may be empty
  std::uint32_t streams = 1;                            // of a closed loop; of an open one, the most at a time
  double rate = 0;                                      // requests a second (Poisson); 0: closed loop
  std::uint32_t requests = 16;                          // in all
  std::uint32_t prompt_tokens = 64, shared_tokens = 0;  // of these, the first are the same for all
  std::uint32_t generate = 64;                          // tokens of every answer; end tokens are ignored
  std::uint32_t vocab = 300;                            // prompts are random ids in [3, vocab)
  std::uint64_t seed = 0;
};

struct LoadReport {
  double seconds = 0;  // from the first request to the last token
  std::uint64_t completed = 0, failed = 0, prompt_tokens = 0, generated_tokens = 0;
  std::vector<double> first_token, between_tokens, whole;  // seconds, each sorted
  std::string first_failure;
};

// Throws Error when nothing can be connected to, Cancelled when `cancel` is set. Once `enough` is set it hangs up and
// tells what there is so far.
LoadReport run_load(const LoadOptions& options, const CancelToken* cancel = nullptr,
                    const std::atomic<bool>* enough = nullptr);

// The q-quantile of sorted values (nearest rank); 0 for none.
double quantile(const std::vector<double>& sorted, double q);

}  // namespace lathe::serve
