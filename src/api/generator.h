// What applications see of a language model that writes text: the local engine or any OpenAI-compatible endpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::api {

// Defaults are the usual ones of a chat program; temperature 0 is greedy. A disabled sampler has its neutral value.
struct SamplingParams {
  float temperature = 0.8f;
  int top_k = 40;            // 0: all
  float top_p = 0.95f;       // 1: all
  float min_p = 0.05f;       // 0: all
  float typical_p = 1;       // 1: all
  float repeat_penalty = 1;  // 1: none; divides positive and multiplies negative logits of recent tokens
  int repeat_window = 64;    // how many recent tokens (prompt included) the repeat penalty looks at
  // Taken off the logits of generated tokens: once for having been generated, and once for each time (0: none).
  float presence_penalty = 0, frequency_penalty = 0;
  // 1 or 2: that version of mirostat takes the place of top-k, typical, top-p and min-p; 0: off.
  int mirostat = 0;
  float mirostat_tau = 5;     // surprise to aim at, in bits per token
  float mirostat_eta = 0.1f;  // how fast it corrects itself
  std::vector<std::pair<text::TokenId, float>> logit_bias;
  std::uint64_t seed = 0;
};

// How the text of a grammar, or the JSON of a schema, stands in the generated text.
struct GrammarFrame {
  std::string trigger;              // the grammar holds once this text was generated; empty: from the start
  bool trigger_counts = false;      // the trigger is the beginning of what the grammar describes, not only before it
  std::string begin, between, end;  // around and between the values
  bool repeats = false;             // several values may follow each other
  bool stops = true;                // stop texts end the text there as elsewhere; false: only what stands before it
  bool operator==(const GrammarFrame&) const = default;
};

// A registered adapter, its update multiplied by `scale` beside the scale it was registered with.
struct AdapterUse {
  std::string name;
  float scale = 1;
  // NOLINTNEXTLINE(google-explicit-constructor): a name alone is a use
  AdapterUse(std::string n, float s = 1) : name(std::move(n)), scale(s) {}
  AdapterUse(const char* n) : name(n) {}  // NOLINT(google-explicit-constructor)
};

struct GenerateRequest {
  std::string prompt;  // used when prompt_ids is empty
  std::vector<text::TokenId> prompt_ids;
  bool add_special = true;    // BOS as the tokenizer says
  bool parse_special = true;  // control tokens spelled in the prompt count as such
  std::uint32_t max_tokens = 128;
  bool ignore_eos = false;
  std::vector<std::string> stop;  // text that ends generation (left out of the result)
  SamplingParams sampling;
  // At most one of the two: the generated text is a sentence of this GBNF grammar, or JSON of a value that this JSON
  // Schema allows (docs/grammars.md). It may still end early by max_tokens or a stop string.
  std::string grammar, json_schema;
  GrammarFrame frame;
  bool show_special = false;         // control tokens stand in the text as the vocabulary spells them
  std::vector<AdapterUse> adapters;  // all are applied
  std::string kv_policy;             // which cached tokens are attended to, as --kv-policy spells it; empty: the usual
  int logprobs = 0;                  // > 0: this many alternatives for each generated token
};

struct TokenLogprob {
  text::TokenId id = text::kNoToken;
  float logprob = 0;
};

struct GeneratedToken {
  text::TokenId id = text::kNoToken;
  float logprob = 0;                       // of the model's distribution, before the samplers
  std::vector<TokenLogprob> alternatives;  // the most likely tokens, best first, when asked for
};

enum class StopReason : std::uint8_t { kLength, kEos, kStopString, kContextFull, kCancelled };
std::string_view stop_reason_name(StopReason reason);  // "length", "eos", "stop", "context", "cancelled"

struct GenerateResult {
  std::string text;
  std::vector<text::TokenId> prompt_ids;
  std::vector<GeneratedToken> tokens;
  StopReason stop_reason = StopReason::kLength;
  std::uint32_t cached_prompt_tokens = 0;  // of the prompt, found in the prefix cache
  // Guessed ahead by a draft and looked at, and how many of them were what was generated.
  std::uint32_t drafted_tokens = 0, accepted_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

// Called with each complete piece of UTF-8 as it is generated; returning false cancels.
using TextCallback = std::function<bool(std::string_view piece)>;

class Generator {
 public:
  virtual ~Generator() = default;
  // Throws Error for a request that cannot be served (a prompt longer than the context, impossible settings).
  virtual GenerateResult generate(const GenerateRequest& request, const TextCallback& on_text = {}) = 0;
};

}  // namespace lathe::api
