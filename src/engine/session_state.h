// What a Session consists of (private to engine/).
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fair_mutex.h"
#include "cache/block_pool.h"
#include "engine/constraint.h"
#include "engine/scheduler.h"
#include "engine/session.h"
#include "model/forward.h"

namespace lathe::engine {

struct Session::State {
  State(std::shared_ptr<model::Model> model, std::shared_ptr<const text::Tokenizer> tokenizer,
        const SessionOptions& asked, std::uint64_t kv_bytes);

  // Runs `ids` through the model alone and hands over the logits after positions `from` and later.
  void each_row(std::span<const text::TokenId> ids, std::size_t from,
                const std::function<void(std::size_t, std::span<const float>)>& sink,
                const SourceText* source = nullptr);

  // What generated tokens mean; may be null.
  std::shared_ptr<const text::Tokenizer> writing_tokenizer() const;
  // Throws Error when the model has none.
  const text::Tokenizer& named_tokenizer() const;
  // Begins what has arrived and runs one forward pass; false when there is nothing to do.
  bool step();
  SessionStats current_stats() const;

  // The policy of a request that names `text`, or the session's own; an Error for one that cannot work here.
  std::shared_ptr<const cache::KvPolicy> policy_for(std::string_view text) const;
  // The registered adapter, scaled; an Error that lists the names there are.
  std::shared_ptr<const model::Adapter> adapter(const api::AdapterUse& use);

  std::shared_ptr<model::Model> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;  // may be null
  SessionOptions options;                            // with nothing left to decide
  std::shared_ptr<const cache::KvPolicy> policy;
  std::uint64_t most_outstanding;  // nodes that may be in the system at a time
  Constraints constraints{writing_tokenizer()};

  // What callers hand to whoever steps. Never held for long.
  std::mutex inbox_mutex;
  std::condition_variable work_arrived;
  std::vector<std::shared_ptr<ProgramRun>> inbox;  // programs with news: begun, grown, closed
  SessionStats stats;                              // as of the last step
  std::map<std::string, std::shared_ptr<const model::Adapter>, std::less<>> adapters;
  std::atomic<std::uint64_t> outstanding{0};  // nodes of programs that have not ended
  std::atomic<std::uint64_t> programs{0};     // started so far: gives them their numbers

  // Guards everything below. Held for one step at a time, so that concurrent callers share the batch.
  FairMutex mutex;
  model::ForwardContext forward;
  cache::BlockPool pool;
  std::unique_ptr<SourceEncoder> encoder;  // null for a model without one
  std::unique_ptr<Drafter> drafter;        // may be null
  Scheduler scheduler;
  std::uint64_t restored_tokens = 0;  // of SessionStats
  std::vector<std::shared_ptr<ProgramRun>> runs;
  const CancelToken* cancel = nullptr;
};

}  // namespace lathe::engine
