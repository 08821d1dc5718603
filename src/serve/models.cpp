#include "serve/models.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>

#include "base/log.h"
#include "formats/adapter_file.h"
#include "formats/fingerprint.h"
#include "serve/openai/error.h"

namespace lathe::serve {

namespace {

// What the prefixes of one engine are stored under.
std::string store_name(const LoadedModel& model, std::size_t engine) {
  return engine == 0 ? model.name : fmt::format("{}.{}", model.name, engine + 1);
}

// "poems", or "poems+short": each of them once, at most all there are. None when one is not known.
std::vector<api::AdapterUse> adapters_named(const ModelSpec& spec, std::string_view names) {
  const auto known = [&](std::string_view name) {
    return std::any_of(spec.adapters.begin(), spec.adapters.end(), [&](const auto& one) { return one.name == name; });
  };
  if (known(names)) return {std::string(names)};
  std::vector<api::AdapterUse> uses;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find('+', begin), names.size());
    const std::string_view name = names.substr(begin, end - begin);
    const bool twice = std::any_of(uses.begin(), uses.end(), [&](const auto& use) { return use.name == name; });
    if (!known(name) || twice) return {};
    uses.emplace_back(std::string(name));
    begin = end + 1;
  }
  return uses;
}

}  // namespace

engine::Session& LoadedModel::route(std::span<const api::AdapterUse> adapters, std::string_view kv_policy,
                                    std::span<const text::TokenId> prompt) {
  if (engines.size() == 1) return *engines.front().session;
  std::string scope(kv_policy);
  for (const api::AdapterUse& use : adapters) scope += fmt::format("\n{}:{}", use.name, use.scale);
  if (!any().shares_prefixes(kv_policy)) prompt = {};  // nobody has read any of it
  std::vector<std::uint64_t> outstanding;
  for (const Engine& one : engines) outstanding.push_back(one.session->outstanding());
  return *engines[router.choose(scope, prompt, outstanding)].session;
}

Models::Models(engine::Runtime& runtime, std::vector<ModelSpec> specs, engine::SessionOptions session,
               std::uint64_t memory, std::size_t engines, std::optional<PrefixStore> store, RequestPolicies policies)
    : runtime_(runtime),
      specs_(std::move(specs)),
      session_(std::move(session)),
      memory_(memory),
      n_engines_(engines),
      store_(std::move(store)),
      policies_(std::move(policies)),
      since_(static_cast<std::int64_t>(std::time(nullptr))) {
  policies_.own = session_.kv_policy;
}

std::vector<std::string> Models::names() const {
  std::vector<std::string> names;
  for (const ModelSpec& spec : specs_) {
    names.push_back(spec.name);
    for (const AdapterSpec& adapter : spec.adapters) names.push_back(spec.name + ":" + adapter.name);
  }
  return names;
}

std::vector<std::shared_ptr<LoadedModel>> Models::loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<LoadedModel>> all;
  for (const auto& [name, model] : loaded_) all.push_back(model);
  return all;
}

void Models::stop() {
  for (const auto& model : loaded()) close(*model);
}

void Models::close(LoadedModel& model) const {
  for (Engine& one : model.engines) one.thread.reset();
  for (std::size_t i = 0; store_ && i < model.engines.size(); ++i)
    store_->save(*model.engines[i].session, store_name(model, i), model.fingerprint);
  if (store_) store_->save(model.router, model.name, model.fingerprint);
}

Lease Models::acquire(std::string_view name) {
  if (name.empty() && specs_.size() == 1) name = specs_.front().name;
  if (name.empty()) throw ApiError(400, "'model' is missing", "model", "missing_required_parameter");
  Lease lease;
  lease.name = std::string(name);
  const ModelSpec* found = nullptr;
  for (const ModelSpec& spec : specs_) {
    if (spec.name == name) found = &spec;
    if (!name.starts_with(spec.name + ":")) continue;
    if (auto uses = adapters_named(spec, name.substr(spec.name.size() + 1)); !uses.empty()) {
      found = &spec;
      lease.adapters = std::move(uses);
    }
  }
  if (found == nullptr) {
    throw ApiError(404, fmt::format("there is no model '{}'; GET /v1/models lists those there are", name), "model",
                   "model_not_found");
  }
  const auto known = [&]() -> bool {
    const std::lock_guard lock(mutex_);
    const auto it = loaded_.find(found->name);
    if (it == loaded_.end()) return false;
    it->second->last_used = ++clock_;
    lease.model = it->second;
    return true;
  };
  if (known()) return lease;
  const std::lock_guard opening(opening_);
  if (!known()) lease.model = open(*found);
  return lease;
}

std::shared_ptr<LoadedModel> Models::open(const ModelSpec& spec) {
  auto loaded = std::make_shared<LoadedModel>(n_engines_, session_.max_batch);
  loaded->name = spec.name;
  loaded->policies = policies_;
  loaded->most_sequences = session_.max_batch;
  loaded->file = spec.load();
  const std::uint64_t weights = loaded->file.weights.bytes();
  make_room(weights + n_engines_ * session_.kv_bytes, spec.name);
  if (store_) loaded->fingerprint = formats::fingerprint(loaded->file);
  const auto model = runtime_.load(loaded->file);
  loaded->file.weights = {};
  loaded->bytes = weights;
  std::uint64_t restored = 0;  // a bit for each engine
  for (std::size_t i = 0; i < n_engines_; ++i) {
    Engine& one = loaded->engines[i];
    one.session = runtime_.open(model, loaded->file.tokenizer, session_);
    loaded->bytes += one.session->stats().kv_bytes_budget;
    for (const AdapterSpec& adapter : spec.adapters) {
      if (i == 0) loaded->adapters.push_back(adapter.name);
      one.session->add_adapter(adapter.name, formats::load_adapter(adapter.path, loaded->file.architecture),
                               adapter.scale);
    }
    if (store_ && store_->restore(*one.session, store_name(*loaded, i), loaded->fingerprint) > 0)
      restored |= std::uint64_t{1} << i;
    one.thread = std::make_unique<engine::EngineThread>(*one.session);
  }
  if (store_) store_->restore(loaded->router, loaded->name, loaded->fingerprint, restored);
  loaded->chat = ChatFormat(loaded->file);
  log_info("{}: open, context {}", spec.name, loaded->any().context());
  const std::lock_guard lock(mutex_);
  loaded->last_used = ++clock_;
  loaded_[spec.name] = loaded;
  return loaded;
}

// Closes idle models, the least recently used first, until `bytes` more fit. A request lets go of its model a moment
// after its answer has gone out, which a client may take for the time to ask for another: hence the patience.
void Models::make_room(std::uint64_t bytes, const std::string& name) {
  if (memory_ == 0) return;
  if (bytes > memory_) {
    throw ApiError(503, fmt::format("model '{}' needs {} bytes, more than all of --memory", name, bytes), "model",
                   "model_too_large");
  }
  constexpr auto kPatience = std::chrono::milliseconds(500), kPause = std::chrono::milliseconds(2);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    std::shared_ptr<LoadedModel> victim;  // closed outside the lock: its thread is joined
    {
      const std::lock_guard lock(mutex_);
      std::uint64_t used = 0;
      auto oldest = loaded_.end();
      for (auto it = loaded_.begin(); it != loaded_.end(); ++it) {
        used += it->second->bytes;
        const bool idle = it->second.use_count() == 1;
        if (idle && (oldest == loaded_.end() || it->second->last_used < oldest->second->last_used)) oldest = it;
      }
      if (used + bytes <= memory_) return;
      if (oldest == loaded_.end() && std::chrono::steady_clock::now() >= until) {
        ApiError busy(503, fmt::format("no memory for model '{}' while the others are in use", name), "model",
                      "no_memory_for_model");
        busy.retry_after = 5;
        throw busy;
      }
      if (oldest != loaded_.end()) {
        victim = std::move(oldest->second);
        loaded_.erase(oldest);
      }
    }
    if (victim == nullptr) {
      std::this_thread::sleep_for(kPause);
      continue;
    }
    close(*victim);
    ++evictions_;
    log_info("{}: closed to make room for {}", victim->name, name);
  }
}

}  // namespace lathe::serve
