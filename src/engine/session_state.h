// What a Session consists of (private to engine/).
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "cache/block_pool.h"
#include "engine/constraint.h"
#include "engine/scheduler.h"
#include "engine/session.h"
#include "model/forward.h"

namespace lathe::engine {

struct Session::State {
  State(std::shared_ptr<model::Model> model, std::shared_ptr<const text::Tokenizer> tokenizer,
        const SessionOptions& options, std::uint64_t kv_bytes);

  // Runs `ids` through the model alone and hands over the logits (or hidden states) after positions `from` and later.
  void each_row(std::span<const text::TokenId> ids, std::size_t from, bool hidden,
                const std::function<void(std::size_t, std::span<const float>)>& sink);

  // The registered adapter; an Error that lists the names there are.
  std::shared_ptr<const model::Adapter> adapter(std::string_view name) const;

  std::shared_ptr<model::Model> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;  // may be null
  std::uint32_t context;
  std::shared_ptr<const cache::KvPolicy> policy;
  // Guards everything below. Held for one step at a time, so that concurrent callers share the batch.
  std::mutex mutex;
  model::ForwardContext forward;
  cache::BlockPool pool;
  Scheduler scheduler;
  Constraints constraints{tokenizer};
  const CancelToken* cancel = nullptr;
  std::map<std::string, std::shared_ptr<const model::Adapter>, std::less<>> adapters;
};

}  // namespace lathe::engine
