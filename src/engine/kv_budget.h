// How much memory the KV blocks of a session may take, and how they lie in it.
#pragma once

#include <cstdint>

#include "engine/runtime.h"
#include "kernels/backend.h"
#include "model/model.h"

namespace lathe::engine {

kernels::KvLayout kv_layout(const model::Model& model, kernels::KvCodec codec);

// Bytes: `asked`, or when that is 0 what max_batch full contexts need, within most of the free memory if
// they lie in memory.
std::uint64_t kv_budget(const model::Model& model, const SessionOptions& options, std::uint32_t context,
                        std::uint64_t asked = 0);

// `asked` (0: what the model was trained for), or less where learned positions end before.
std::uint32_t context_within(const arch::Architecture& architecture, std::uint32_t asked);

}  // namespace lathe::engine
