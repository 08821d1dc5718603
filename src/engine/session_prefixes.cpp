// The prefix cache of a session as a file, from one run to the next.
#include "arch/rope.h"
#include "base/file.h"
#include "base/hash.h"
#include "cache/prefix_file.h"
#include "engine/session.h"
#include "engine/session_state.h"

namespace lathe::engine {
namespace {

// Versions of the program may round differently, and so may backends; dynamic scalings of RoPE depend on the context.
cache::PrefixOrigin origin(const model::Model& model, std::uint32_t context, std::uint64_t fingerprint) {
  std::uint64_t angles = 0;
  for (const arch::RopeRule& rule : model.op_list().ropes) {
    const arch::RopeFrequencies rope = arch::rope_frequencies(rule, context);
    angles = hash64(std::as_bytes(std::span(rope.inv_freq)), hash64_value(rope.mscale, angles));
  }
  return {fingerprint,
          fmt::format("lathe {}, {}, angles {:016x}", LATHE_VERSION, model.backend().arithmetic(), angles)};
}

}  // namespace

std::uint64_t Session::save_prefixes(const std::filesystem::path& path, std::uint64_t fingerprint,
                                     std::uint64_t most_bytes) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->options.prefix_cache) return 0;
  return cache::save_prefixes(path, state_->scheduler.prefix_tree(),
                              origin(*state_->model, state_->options.context, fingerprint), most_bytes) *
         state_->pool.layout().block_tokens;
}

std::uint64_t Session::load_prefixes(const std::filesystem::path& path, std::uint64_t fingerprint) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->options.prefix_cache) return 0;
  const std::uint64_t tokens = cache::load_prefixes(map_file(path), state_->scheduler.prefix_tree(),
                                                    origin(*state_->model, state_->options.context, fingerprint)) *
                               state_->pool.layout().block_tokens;
  state_->restored_tokens += tokens;
  const std::lock_guard inbox(state_->inbox_mutex);
  state_->stats = state_->current_stats();
  return tokens;
}

}  // namespace lathe::engine
