// The models of a server: opened when first asked for, kept while the memory budget allows, the least recently used one
// that is idle closed to make room. `model` in a request is a name, name:adapter or name:adapter+adapter.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine_thread.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "formats/model_file.h"
#include "serve/chat_format.h"
#include "serve/prefix_router.h"
#include "serve/prefix_store.h"

namespace lathe::serve {

struct AdapterSpec {
  std::string name, path;
  float scale = 1;
};

struct ModelSpec {
  std::string name;
  std::function<formats::ModelFile()> load;  // maps the files; from any thread
  std::vector<AdapterSpec> adapters;
};

// Which KV policies requests may choose.
struct RequestPolicies {
  std::string own = "full";  // what holds for a request that says nothing
  std::vector<std::string> offered = {"full", "sinks", "infllm"};
  // Of infllm, whose window and blocks cost memory beside the KV budget: the largest window, first tokens, and tokens
  // of the blocks shown.
  std::uint64_t most_tokens = 4096;
};

// A session and the thread that steps it.
struct Engine {
  std::unique_ptr<engine::Session> session;
  std::unique_ptr<engine::EngineThread> thread;  // last: it ends before the session
};

// An open model. Its engines share the weights; each has a batch and KV blocks of its own.
struct LoadedModel {
  LoadedModel(std::size_t n_engines, std::size_t places) : engines(n_engines), router(n_engines, places) {}
  // What is the same in all of them: tokenizer, context, the model's shape.
  const engine::Session& any() const { return *engines.front().session; }
  // The engine for a prompt, by what each has read under this policy (GenerateRequest::kv_policy) and has to do.
  engine::Session& route(std::span<const api::AdapterUse> adapters, std::string_view kv_policy,
                         std::span<const text::TokenId> prompt);

  std::string name;
  std::vector<std::string> adapters;  // their names
  std::uint32_t most_sequences = 0;   // that an engine generates together
  formats::ModelFile file;            // without weights
  std::uint64_t fingerprint = 0;      // of that file; 0 without a store
  ChatFormat chat;
  RequestPolicies policies;
  std::uint64_t bytes = 0;  // weights and the budget of the KV blocks
  std::uint64_t last_used = 0;
  std::vector<Engine> engines;
  PrefixRouter router;
};

// A model for the time of one request: it is not closed meanwhile. Given back before the request is answered, so that
// the client's next request finds room for another model.
struct Lease {
  std::shared_ptr<LoadedModel> model;
  std::string name;                       // as asked for
  std::vector<api::AdapterUse> adapters;  // of that request
  std::string kv_policy;                  // of its calls that choose none themselves; empty: the server's
};

class Models {
 public:
  // `memory` in bytes; 0: no bound. `session` is what each of a model's `engines` engines is opened with. `store`, if
  // any, gives a model its prefixes when it is opened and takes them when it is closed. `policies.own` is `session`'s.
  Models(engine::Runtime& runtime, std::vector<ModelSpec> specs, engine::SessionOptions session, std::uint64_t memory,
         std::size_t engines = 1, std::optional<PrefixStore> store = {}, RequestPolicies policies = {});

  // The model of that name, opened if need be (which may take long). Throws ApiError: 404 for an unknown one, 503 when
  // there is no room for it now. An empty name stands for the only model, if there is just one.
  Lease acquire(std::string_view name);
  // "model" and "model:adapter", in the order they were given.
  std::vector<std::string> names() const;
  std::vector<std::shared_ptr<LoadedModel>> loaded() const;
  std::int64_t since() const { return since_; }  // Unix time of the start
  std::uint64_t evictions() const { return evictions_; }
  // Ends the threads that step the models and saves their prefixes: no request hears of its answer after this. For the
  // time when the server has ended, before what its requests refer to is gone.
  void stop();

 private:
  std::shared_ptr<LoadedModel> open(const ModelSpec& spec);
  void make_room(std::uint64_t bytes, const std::string& name);
  void close(LoadedModel& model) const;

  engine::Runtime& runtime_;
  const std::vector<ModelSpec> specs_;
  engine::SessionOptions session_;
  std::uint64_t memory_;
  std::size_t n_engines_;
  std::optional<PrefixStore> store_;
  RequestPolicies policies_;
  std::int64_t since_;
  std::atomic<std::uint64_t> evictions_{0};
  std::mutex opening_;        // one model is opened at a time
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, std::shared_ptr<LoadedModel>, std::less<>> loaded_;
  std::uint64_t clock_ = 0;
};

}  // namespace lathe::serve
