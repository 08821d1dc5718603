// What an attention call sees: queries of several sequences, each with the runs of cached keys and values it may attend
// to. Every result is a merge of partials (running maximum, sum of exponentials, weighted values) over fixed partitions
// of a run, in a fixed order, so that a row's result depends neither on its neighbours nor on how a prompt was chunked
// (FlashDecoding; Dao et al. 2022 for the online softmax).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/device_tensor.h"

namespace lathe::kernels {

enum class KvCodec : std::uint8_t { kF32, kF16, kI8 };  // kI8: one float scale per token and head
std::string_view kv_codec_name(KvCodec codec);          // "f32", "f16", "int8"

// One layer's share of a KV block. The order of bytes inside is the backend's; its size is Backend::kv_block_bytes.
struct KvLayout {
  KvCodec codec = KvCodec::kF16;
  std::uint32_t n_kv_heads = 0;
  std::uint32_t k_dim = 0, v_dim = 0;  // per head
  std::uint32_t block_tokens = 0;      // slots per block
  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

// Cached tokens at consecutive positions: slots [begin, end) of a list of blocks, slot s lying in blocks[s /
// block_tokens]. Partitions are aligned to slot 0 of the run.
struct KvRun {
  std::span<void* const> blocks;     // device addresses, host array, alive until the call returns
  std::uint64_t begin = 0, end = 0;  // slots
  std::int64_t first_position = 0;   // position of slot `begin`
  // > 0: a row sees only the last `window` positions of this run, its own included; 0: as AttentionParams say.
  std::int64_t window = 0;
  std::int64_t lag = 0;  // > 0: a row sees only positions that are at least this far before its own
  // The keys were stored before RoPE: AttentionParams::far_q asks them, and they receive no mass.
  bool far = false;
};

// Rows [row_begin, row_begin + row_count) of q belong to one sequence, at positions first_position, +1, ...
struct AttentionSequence {
  std::uint64_t row_begin = 0, row_count = 0;
  std::int64_t first_position = 0;
  std::span<const KvRun> runs;
  // Query rows before this one see each other in full (an image's tokens); 0 for plain causal attention.
  std::uint64_t bidirectional_rows = 0;
  // If set: one float per slot of all runs that are not far, in order, increased by the attention probability the slot
  // received, summed over rows (what eviction and retrieval policies observe). Head h adds to mass[h * mass_stride]
  // onwards; with a stride of 0 the heads are summed too.
  float* mass = nullptr;  // device address
  std::uint64_t mass_stride = 0;
};

struct AttentionParams {
  std::uint32_t n_heads = 0;
  float scale = 1;                      // scores = scale * q.k
  float softcap = 0;                    // > 0: scores = softcap * tanh(scores / softcap)
  bool causal = true;                   // a row sees positions <= its own
  std::int64_t window = 0;              // > 0: and > its own - window
  const float* alibi_slopes = nullptr;  // device address, n_heads: scores += slope * (key position - query position)
  // Device address, [n_heads, 2 * relative_span + 1]: scores += the head's bias at key position - query position, held
  // within [-relative_span, relative_span] (Raffel et al. 2020, section 2.1).
  const float* relative_bias = nullptr;
  std::int32_t relative_span = 0;
  // Device address, n_heads: a score that takes part in the softmax without a value, as if it were one more key
  // (attention sinks of gpt-oss).
  const float* sinks = nullptr;
  // Device, like q: what far runs are asked with, rotated to the distance that all their keys are taken to have.
  DeviceTensor far_q = {};
};

}  // namespace lathe::kernels
