// A model ready to serve: the three application interfaces over one scheduler, KV cache and tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/embedder.h"
#include "api/generator.h"
#include "api/scorer.h"
#include "base/cancel.h"
#include "engine/program.h"
#include "engine/runtime.h"
#include "formats/adapter_file.h"

namespace lathe::engine {

struct SessionStats {
  std::uint64_t kv_bytes_in_use = 0, kv_bytes_budget = 0;
  std::uint64_t prefix_hit_tokens = 0, prefill_tokens = 0, decode_tokens = 0, forward_passes = 0;
};

class Session final : public api::Generator, public api::Embedder, public api::Scorer {
 public:
  ~Session() override;

  const model::Model& model() const;
  const text::Tokenizer& tokenizer() const;  // throws when the model has none
  std::uint32_t context() const;             // tokens a sequence may hold
  SessionStats stats() const;
  // Long calls stop with Cancelled (or, for generation, StopReason::kCancelled) when this token is set.
  void set_cancel_token(const CancelToken* token);
  // Makes an adapter available to requests as `name`, its update multiplied by `scale`; throws when the name is taken.
  void add_adapter(const std::string& name, const formats::AdapterFile& file, float scale = 1);

  // A request becomes a program of one node.
  api::GenerateResult generate(const api::GenerateRequest& request, const api::TextCallback& on_text = {}) override;
  // Several requests batched together; results in order. `on_text` gets the request's index.
  std::vector<api::GenerateResult> generate_all(std::span<const api::GenerateRequest> requests,
                                                const std::function<bool(std::size_t, std::string_view)>& on_text = {});
  // Runs a graph of calls to completion.
  void run(Program& program, const NodeCallback& on_text = {});

  std::uint32_t dimension() const override;
  std::vector<std::vector<float>> embed(std::span<const std::string> texts,
                                        const api::EmbedOptions& options = {}) override;

  std::vector<api::TokenScore> score(const std::string& context, const std::string& continuation) override;
  void logits(std::span<const text::TokenId> ids, std::size_t from,
              const std::function<void(std::size_t, std::span<const float>)>& sink) override;

 private:
  friend class Runtime;
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace lathe::engine
