#include "engine/kv_budget.h"

#include <unistd.h>

#include <algorithm>

#include "base/checked.h"
#include "cache/kv_policy.h"

namespace lathe::engine {
namespace {

constexpr std::uint32_t kBlockTokens = 32;

}  // namespace

kernels::KvLayout kv_layout(const model::Model& model, kernels::KvCodec codec) {
  const arch::StateGroup& group = model.op_list().state.front();
  return {codec, group.n_kv_heads, group.k_dim, group.v_dim, kBlockTokens};
}

std::uint64_t kv_budget(const model::Model& model, const SessionOptions& options, std::uint32_t context,
                        std::uint64_t asked) {
  if (asked > 0) return asked;
  const std::uint64_t block = model.backend().kv_block_bytes(kv_layout(model, options.kv_codec)) * model.state_layers();
  // Of a sequence: its own, and a source, or the same again in a memory.
  const bool twice = model.encoder() != nullptr || cache::kv_policy_named(options.kv_policy)->memory() != nullptr;
  const std::uint64_t texts = twice ? 2 : 1;
  const std::uint64_t wanted =
      checked_mul(block, options.max_batch * texts * (context / kBlockTokens + 2), "KV budget");
  if (!options.kv_folder.empty()) return wanted;  // the disk says what there is room for
  const std::uint64_t free =
      static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::max(block, std::min(wanted, free / 10 * 8));
}

std::uint32_t context_within(const arch::Architecture& a, std::uint32_t asked) {
  if (asked == 0) return a.context_length;
  return a.positions_end() ? std::min(asked, a.context_length) : asked;
}

}  // namespace lathe::engine
