// Adapters of a session: prepared on its backend when they are registered, named by requests.
#include <cmath>

#include "base/hash.h"
#include "engine/session.h"
#include "engine/session_state.h"
#include "formats/fingerprint.h"

namespace lathe::engine {

void Session::add_adapter(const std::string& name, const formats::AdapterFile& file, float scale) {
  if (!std::isfinite(scale)) throw UsageError(fmt::format("an adapter scale of {} is not a number", scale), name);
  auto adapter = std::make_shared<model::Adapter>();
  adapter->fingerprint = hash64_value(scale, formats::fingerprint(file));
  kernels::Backend& backend = state_->model->backend();
  for (const auto& [weight, tensors] : file.low_rank) {
    adapter->low_rank[weight] = {backend.prepare({tensors.a}), backend.prepare({tensors.b}), tensors.scale * scale};
  }
  const std::lock_guard lock(state_->inbox_mutex);
  if (!state_->adapters.emplace(name, std::move(adapter)).second)
    fail(name, "an adapter of this name is registered already");
}

std::shared_ptr<const model::Adapter> Session::State::adapter(const api::AdapterUse& use) {
  if (!std::isfinite(use.scale))
    throw UsageError(fmt::format("an adapter scale of {} is not a number", use.scale), use.name);
  const std::lock_guard lock(inbox_mutex);
  if (const auto it = adapters.find(use.name); it != adapters.end()) {
    if (use.scale == 1) return it->second;
    auto scaled = std::make_shared<model::Adapter>(*it->second);  // its matrices are shared
    scaled->fingerprint = hash64_value(use.scale, scaled->fingerprint);
    for (auto& [weight, update] : scaled->low_rank) update.scale *= use.scale;
    return scaled;
  }
  std::string known;
  for (const auto& [other, adapter] : adapters) known += (known.empty() ? "" : ", ") + other;
  throw Error(fmt::format("there is no adapter \"{}\"", use.name), "request",
              known.empty() ? "none is registered" : "registered: " + known);
}

}  // namespace lathe::engine
