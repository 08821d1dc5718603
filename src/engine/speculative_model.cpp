// Drafts from a model: all texts that want a guess go through its passes together, a token at a time.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "cache/block_pool.h"
#include "cache/paged_kv.h"
#include "engine/kv_budget.h"
#include "engine/speculative.h"
#include "model/forward.h"
#include "model/hooks.h"

namespace lathe::engine {
namespace {

// Goes on with the final norm and the head after the first layers.
class EarlyExit final : public model::ForwardHooks {
 public:
  explicit EarlyExit(std::uint32_t layers) : layers_(static_cast<int>(layers)) {}
  bool on_layer_output(int layer, kernels::DeviceTensor, kernels::Backend&, kernels::Stream&) override {
    return layer + 1 < layers_;
  }

 private:
  int layers_;
};

struct Seen final : DraftState {
  explicit Seen(cache::PagedKv state) : kv(std::move(state)) {}
  cache::PagedKv kv;
  std::vector<text::TokenId> tokens;  // what kv holds
};

// A text on its way through draft(): `tokens` and what was guessed so far.
struct Guess {
  DraftTask* task;
  Seen* seen;
  LogitsProcessor::Place place = 0;
  std::vector<text::TokenId> text;
  bool done = false;
};

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(const std::shared_ptr<model::Model>& model, std::shared_ptr<const text::Tokenizer> tokenizer,
               std::uint32_t layers, std::uint32_t vocabulary, const SessionOptions& limits)
      : tokenizer_(std::move(tokenizer)),
        vocabulary_(std::min(vocabulary, model->architecture().vocab_size)),
        exit_(layers),
        early_(layers > 0),
        policy_(cache::full_policy()),
        context_(context_within(model->architecture(), limits.context)),
        forward_(model, std::max(limits.chunk, limits.max_batch), context_),
        pool_(model->shared_backend(), kv_layout(*model, limits.kv_codec),
              early_ ? layers : model->architecture().n_layers, kv_budget(*model, limits, context_)) {}

  std::unique_ptr<DraftState> begin() override { return std::make_unique<Seen>(cache::PagedKv(pool_, policy_)); }

  void draft(std::span<DraftTask> tasks) override {
    std::vector<Guess> guesses;
    for (DraftTask& task : tasks) guesses.push_back(start(task));
    while (pass(guesses)) continue;
    for (Guess& guess : guesses) {
      if (guess.task->processor == nullptr) continue;
      guess.task->processor->go_to(guess.place);
      guess.task->processor->drop_places();
    }
  }

 private:
  Guess start(DraftTask& task) {
    Guess guess{&task, static_cast<Seen*>(task.state), 0, {task.tokens.begin(), task.tokens.end()}};
    if (task.processor != nullptr) guess.place = task.processor->place();
    // Forgets what was guessed wrong last time. The last token is always read: its logits are the first guess.
    Seen& seen = *guess.seen;
    const auto end = guess.text.end() - 1;
    const auto common = std::mismatch(seen.tokens.begin(), seen.tokens.end(), guess.text.begin(), end).first;
    seen.tokens.erase(common, seen.tokens.end());
    seen.kv.truncate(seen.tokens.size());
    return guess;
  }

  // One pass over everybody who wants more; false when nobody does.
  bool pass(std::vector<Guess>& guesses) {
    std::vector<Guess*> batch;
    std::vector<model::Segment> segments;
    std::vector<model::SequenceInput> inputs;
    std::size_t room = forward_.max_rows();
    std::uint64_t free = pool_.free_blocks();
    for (Guess& guess : guesses) {
      if (guess.done || room == 0) continue;
      const std::size_t stored = guess.seen->tokens.size();
      const std::size_t count = std::min(room, guess.text.size() - stored);
      const std::uint64_t needed = guess.seen->kv.blocks_needed(count);
      const bool strange = std::any_of(guess.text.begin() + static_cast<std::ptrdiff_t>(stored), guess.text.end(),
                                       [&](text::TokenId id) { return static_cast<std::uint32_t>(id) >= vocabulary_; });
      if (guess.text.size() > context_ || needed > free || strange) {  // it does without a guess, or with a shorter one
        guess.done = true;
        continue;
      }
      free -= needed;
      room -= count;
      batch.push_back(&guess);
      segments.push_back({std::span(guess.text).subspan(stored, count)});
      inputs.push_back({&guess.seen->kv,
                        {},
                        stored + count == guess.text.size() ? model::Want::kLast : model::Want::kNothing,
                        early_ ? guess.task->adapters : std::span<const model::Adapter* const>{}});
    }
    if (batch.empty()) return false;
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].segments = {&segments[i], 1};
    std::vector<text::TokenId> chosen(batch.size(), text::kNoToken);
    forward_.forward(
        inputs, {.hooks = early_ ? &exit_ : nullptr},
        [&](std::size_t i, std::uint64_t, std::span<const float> logits) { chosen[i] = choose(*batch[i], logits); });
    for (std::size_t i = 0; i < batch.size(); ++i) {
      Guess& guess = *batch[i];
      const auto read = segments[i].tokens;
      guess.seen->tokens.insert(guess.seen->tokens.end(), read.begin(), read.end());
      if (inputs[i].want == model::Want::kNothing) continue;
      if (chosen[i] != text::kNoToken) {
        guess.task->draft.push_back(chosen[i]);
        guess.text.push_back(chosen[i]);
      }
      guess.done = chosen[i] == text::kNoToken || guess.task->draft.size() == guess.task->most;
    }
    return true;
  }

  // The next token of a guess; none where the text may end.
  text::TokenId choose(Guess& guess, std::span<const float> all_logits) {
    DraftTask& task = *guess.task;
    const auto logits = all_logits.first(vocabulary_);
    try {
      text::TokenId id = text::kNoToken;
      if (task.processor == nullptr) {
        id = task.sampler.sample(logits, guess.text);
      } else {
        processed_.assign(logits.begin(), logits.end());
        task.processor->process(processed_, guess.text);
        id = task.sampler.sample(processed_, guess.text);
        task.processor->accept(id);
      }
      if (tokenizer_ == nullptr) return id;
      const auto& ends = tokenizer_->special().end_of_generation;
      return std::find(ends.begin(), ends.end(), id) == ends.end() ? id : text::kNoToken;
    } catch (const Error&) {
      return text::kNoToken;  // nothing can follow the guess; what follows the text is the model's to say
    }
  }

  std::shared_ptr<const text::Tokenizer> tokenizer_;  // may be null
  std::uint32_t vocabulary_;                          // ids below it mean the same to both models
  EarlyExit exit_;
  bool early_;
  std::shared_ptr<const cache::KvPolicy> policy_;
  std::uint32_t context_;
  model::ForwardContext forward_;
  cache::BlockPool pool_;
  std::vector<float> processed_;
};

}  // namespace

std::unique_ptr<Drafter> model_drafter(const std::shared_ptr<model::Model>& model,
                                       std::shared_ptr<const text::Tokenizer> tokenizer, std::uint32_t layers,
                                       std::uint32_t vocabulary, const SessionOptions& limits) {
  return std::make_unique<ModelDrafter>(model, std::move(tokenizer), layers, vocabulary, limits);
}

}  // namespace lathe::engine
