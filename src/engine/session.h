// A model ready to serve: the three application interfaces over one scheduler, KV cache and tokenizer.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/embedder.h"
#include "api/generator.h"
#include "api/scorer.h"
#include "base/cancel.h"
#include "base/error.h"
#include "engine/beam_search.h"
#include "engine/program.h"
#include "engine/runtime.h"
#include "formats/adapter_file.h"

namespace lathe::engine {

struct SessionStats {
  std::uint64_t kv_bytes_in_use = 0, kv_bytes_budget = 0;
  // Blocks in use, of which those the prefix cache holds; with nothing running the two are equal.
  std::uint64_t kv_blocks_in_use = 0, kv_blocks_cached = 0, kv_blocks_total = 0;
  std::uint64_t running = 0, waiting = 0;  // calls
  std::uint64_t prompt_tokens = 0, prefix_hit_tokens = 0, prefill_tokens = 0, decode_tokens = 0, forward_passes = 0,
                preemptions = 0;
  std::uint64_t restored_tokens = 0;         // by load_prefixes()
  std::uint64_t unshared_prompt_tokens = 0;  // of prompt_tokens, those whose KV policy shares no prefixes
};

// More calls than may wait; try again later.
class Overloaded : public Error {
 public:
  using Error::Error;
};

// What happens to a program that was started. Called by whoever steps the engine, one at a time: they must be quick and
// must not throw. Each may be empty.
struct ProgramEvents {
  std::function<bool(NodeId, const Piece&)> on_text;    // false cancels the node
  std::function<void(NodeId)> on_node_done;             // its result, or its error, is in the program
  std::function<void(std::exception_ptr)> on_finished;  // the last event: the first error, if any
};

struct StartOptions {
  std::string client;  // whose share of the engine it counts to
  int priority = 0;    // higher goes first
  bool open = false;   // more calls and values may follow, until Session::close()
};

class ProgramRun;

class Session final : public api::Generator, public api::Embedder, public api::Scorer {
 public:
  ~Session() override;

  const model::Model& model() const;
  const text::Tokenizer& tokenizer() const;  // throws when the model has none
  std::uint32_t context() const;             // tokens a sequence may hold
  SessionStats stats() const;                // as of the last step
  std::uint64_t outstanding() const;         // calls that wait or run, or will once their inputs are there
  // Whether requests with this policy (GenerateRequest::kv_policy) share the prefix cache. Throws Error for one that
  // they cannot have: unknown, not for this model, not with this session's options.
  bool shares_prefixes(std::string_view kv_policy) const;
  // Long calls stop with Cancelled (or, for generation, StopReason::kCancelled) when this token is set.
  void set_cancel_token(const CancelToken* token);
  // Makes an adapter available to requests as `name`, its update multiplied by `scale`; throws when the name is taken.
  void add_adapter(const std::string& name, const formats::AdapterFile& file, float scale = 1);

  // The prefix cache between two runs. `fingerprint` is that of the model's files (formats/fingerprint.h). A session
  // whose prefix cache is off saves and restores nothing.
  //
  // Writes the most recently used blocks to a file of at most `most_bytes` bytes, in place of an older one; returns the
  // tokens they hold. With nothing to write, or no room for a block, 0 and the file as it was. Throws Error naming the
  // file when it cannot be written (a full disk); the older one is whole then.
  std::uint64_t save_prefixes(const std::filesystem::path& path, std::uint64_t fingerprint, std::uint64_t most_bytes);
  // Fills the cache of a session that has run nothing yet from such a file, as far as the KV budget goes; returns the
  // tokens restored. Throws Error naming the file, with the cache as it was, when it is damaged, or of another model,
  // KV layout, backend or version of Lathe.
  std::uint64_t load_prefixes(const std::filesystem::path& path, std::uint64_t fingerprint);

  // A request becomes a program of one node.
  api::GenerateResult generate(const api::GenerateRequest& request, const api::TextCallback& on_text = {}) override;
  // Several requests batched together; results in order. `on_text` gets the request's index.
  std::vector<api::GenerateResult> generate_all(std::span<const api::GenerateRequest> requests,
                                                const std::function<bool(std::size_t, std::string_view)>& on_text = {});
  // The likeliest texts instead of a sampled one, best first; `request.sampling` decides nothing. It takes turns with
  // whoever steps, one forward pass at a time, and with other searches. `on_pass` hears after every pass how long the
  // beams are (0 while the prompt is read); false cancels. When cancelled, the beams as far as they have come.
  std::vector<BeamResult> beam_search(const api::GenerateRequest& request, const BeamOptions& options,
                                      const std::function<bool(std::uint32_t)>& on_pass = {});
  // Runs a graph of calls to completion.
  void run(Program& program, const NodeCallback& on_text = {});

  // Hands a program to whoever steps, from any thread. Throws Error for a program that cannot run as it is, Overloaded
  // when too many calls wait already.
  std::shared_ptr<ProgramRun> start(Program program, ProgramEvents events, StartOptions options = {});
  // An open program grows, from any thread. `change` adds variables and nodes and nothing else; when it throws, or what
  // it made cannot run, or too many calls wait already, the program is as it was.
  void extend(const std::shared_ptr<ProgramRun>& run, const std::function<void(Program&)>& change);
  // Gives a variable that nothing produces its value; throws Error when it has one.
  void set_value(const std::shared_ptr<ProgramRun>& run, VariableId variable, std::string value);
  // Somebody waits for `variable`: the calls behind it get their goals, those in the queue too.
  void want(const std::shared_ptr<ProgramRun>& run, VariableId variable, Goal goal);
  // Nothing follows any more: what runs is cancelled, what waits fails, on_finished is called.
  void close(const std::shared_ptr<ProgramRun>& run);
  // One forward pass for everything that was started; false when there was nothing to do.
  bool step();
  // Waits until something was started, or `stop` is set and wake() called.
  void wait_for_work(const std::atomic<bool>& stop);
  void wake();
  // Closes every program and steps until each has called on_finished. Nothing may be started meanwhile.
  void cancel_all();

  std::uint32_t dimension() const override;
  std::vector<std::vector<float>> embed(std::span<const std::string> texts,
                                        const api::EmbedOptions& options = {}) override;

  std::vector<api::TokenScore> score(const std::string& context, const std::string& continuation) override;
  void logits(std::span<const text::TokenId> ids, std::size_t from,
              const std::function<void(std::size_t, std::span<const float>)>& sink) override;
  // The same for what the decoder of an encoder-decoder model makes of a source text: position 0 is the token that all
  // its texts begin with, `ids` follow.
  void target_logits(std::span<const text::TokenId> source, std::span<const text::TokenId> ids, std::size_t from,
                     const std::function<void(std::size_t, std::span<const float>)>& sink);

 private:
  friend class Runtime;
  friend class ProgramRun;
  struct State;
  class BeamSearch;
  explicit Session(std::unique_ptr<State> state);
  void enqueue(const std::shared_ptr<ProgramRun>& run, std::uint64_t calls);
  std::unique_ptr<State> state_;
};

}  // namespace lathe::engine
