// Cached keys and values, and attention over them: one block of threads per query row and head walks the slots of its
// runs in tiles with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022). A tile in which a row sees
// nothing leaves its partial exactly as it was, so chunking does not change results.
#include <cuda_fp16.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace lathe::kernels::cuda {
namespace {

constexpr int kTile = 128;         // slots per step, and threads per block
constexpr int kMaxValuesEach = 8;  // v_dim <= kTile * kMaxValuesEach

__host__ __device__ std::uint64_t element_bytes(KvCodec codec) {
  return codec == KvCodec::kF32 ? 4 : codec == KvCodec::kF16 ? 2 : 1;
}

__host__ __device__ std::uint64_t align64(std::uint64_t bytes) { return (bytes + 63) / 64 * 64; }

// Offsets inside a block; see launch.h.
struct Geometry {
  std::uint64_t values, key_scales, value_scales, bytes;
  __host__ __device__ explicit Geometry(const KvLayout& l) {
    const std::uint64_t slots = std::uint64_t{l.n_kv_heads} * l.block_tokens;
    values = align64(slots * l.k_dim * element_bytes(l.codec));
    key_scales = values + align64(slots * l.v_dim * element_bytes(l.codec));
    const std::uint64_t scales = l.codec == KvCodec::kI8 ? align64(slots * sizeof(float)) : 0;
    value_scales = key_scales + scales;
    bytes = value_scales + scales;
  }
};

__device__ float load(KvCodec codec, const char* vectors, std::uint64_t index, float scale) {
  if (codec == KvCodec::kF32) return reinterpret_cast<const float*>(vectors)[index];
  if (codec == KvCodec::kF16) return __half2float(reinterpret_cast<const __half*>(vectors)[index]);
  return scale * static_cast<float>(reinterpret_cast<const signed char*>(vectors)[index]);
}

// One warp stores one head's vector of one token.
__device__ void store(KvCodec codec, char* vectors, std::uint64_t first, float* scale, const float* source,
                      std::uint32_t dim) {
  const int lane = threadIdx.x;
  if (codec == KvCodec::kF32) {
    for (std::uint32_t i = lane; i < dim; i += kWarp) reinterpret_cast<float*>(vectors)[first + i] = source[i];
  } else if (codec == KvCodec::kF16) {
    for (std::uint32_t i = lane; i < dim; i += kWarp)
      reinterpret_cast<__half*>(vectors)[first + i] = __float2half_rn(source[i]);
  } else {
    float most = 0;
    for (std::uint32_t i = lane; i < dim; i += kWarp) most = fmaxf(most, fabsf(source[i]));
    most = warp_max(most);
    const float inverse = most > 0 ? 127 / most : 0;
    for (std::uint32_t i = lane; i < dim; i += kWarp) {
      reinterpret_cast<signed char*>(vectors)[first + i] =
          static_cast<signed char>(__float2int_rn(source[i] * inverse));
    }
    if (lane == 0) *scale = most / 127;
  }
}

__global__ void kv_append_kernel(KvLayout layout, void* const* blocks, std::uint64_t first_slot, DeviceTensor k,
                                 DeviceTensor v) {
  const Geometry geometry(layout);
  const std::uint64_t slot = first_slot + blockIdx.x, head = blockIdx.y;
  char* block = static_cast<char*>(blocks[slot / layout.block_tokens]);
  const std::uint64_t at = head * layout.block_tokens + slot % layout.block_tokens;
  store(layout.codec, block, at * layout.k_dim, reinterpret_cast<float*>(block + geometry.key_scales) + at,
        static_cast<const float*>(k.data) + blockIdx.x * k.stride + head * layout.k_dim, layout.k_dim);
  store(layout.codec, block + geometry.values, at * layout.v_dim,
        reinterpret_cast<float*>(block + geometry.value_scales) + at,
        static_cast<const float*>(v.data) + blockIdx.x * v.stride + head * layout.v_dim, layout.v_dim);
}

__global__ void kv_keys_kernel(KvLayout layout, void* const* blocks, std::uint64_t first_slot, DeviceTensor out) {
  const Geometry geometry(layout);
  const std::uint64_t slot = first_slot + blockIdx.x, head = blockIdx.y;
  const char* block = static_cast<const char*>(blocks[slot / layout.block_tokens]);
  const std::uint64_t at = head * layout.block_tokens + slot % layout.block_tokens;
  const float scale =
      layout.codec == KvCodec::kI8 ? reinterpret_cast<const float*>(block + geometry.key_scales)[at] : 1;
  float* to = static_cast<float*>(out.data) + blockIdx.x * out.stride + head * layout.k_dim;
  for (std::uint32_t i = threadIdx.x; i < layout.k_dim; i += kWarp)
    to[i] = load(layout.codec, block, at * layout.k_dim + i, scale);
}

// The score of one slot, or -infinity when the row may not see it.
__device__ float score(const AttentionArgs& args, const DeviceSequence& sequence, const DeviceRun& run,
                       const Geometry& geometry, std::uint64_t slot, std::uint64_t row, std::uint32_t head,
                       const float* query) {
  const AttentionParams& p = args.params;
  const std::int64_t own = sequence.first_position + static_cast<std::int64_t>(row);
  const std::int64_t position = run.first_position + static_cast<std::int64_t>(slot - run.begin);
  const bool together = row < sequence.bidirectional_rows && position >= sequence.first_position &&
                        position < sequence.first_position + static_cast<std::int64_t>(sequence.bidirectional_rows);
  const bool hidden = (p.causal && position > own) || (run.window > 0 && position <= own - run.window) ||
                      (run.lag > 0 && position > own - run.lag);
  if (!together && hidden) return -INFINITY;
  const KvLayout& layout = args.layout;
  const char* block = static_cast<const char*>(args.blocks[run.block_offset + slot / layout.block_tokens]);
  const std::uint64_t kv_head = head / (p.n_heads / layout.n_kv_heads);
  const std::uint64_t at = kv_head * layout.block_tokens + slot % layout.block_tokens;
  const float key_scale =
      layout.codec == KvCodec::kI8 ? reinterpret_cast<const float*>(block + geometry.key_scales)[at] : 1;
  if (run.far) query += layout.k_dim;
  float dot = 0;
  for (std::uint32_t i = 0; i < layout.k_dim; ++i)
    dot = fmaf(query[i], load(layout.codec, block, at * layout.k_dim + i, key_scale), dot);
  float s = dot * p.scale;
  if (p.softcap > 0) s = p.softcap * tanhf(s / p.softcap);
  if (p.alibi_slopes != nullptr) s += p.alibi_slopes[head] * static_cast<float>(position - own);
  if (p.relative_bias != nullptr) {
    const std::int64_t span = p.relative_span, away = position - own;
    const std::int64_t held = away < -span ? -span : away > span ? span : away;
    s += p.relative_bias[static_cast<std::int64_t>(head) * (2 * span + 1) + span + held];
  }
  return s;
}

__global__ void attention_kernel(DeviceTensor out, DeviceTensor q, AttentionArgs args) {
  extern __shared__ float query[];  // k_dim, and k_dim more for far runs
  __shared__ float probabilities[kTile], scratch[kWarp];
  const KvLayout& layout = args.layout;
  const Geometry geometry(layout);
  const DeviceSequence& sequence = args.sequences[args.row_sequence[blockIdx.x]];
  const std::uint64_t row = args.row_index[blockIdx.x], in_sequence = row - sequence.row_begin;
  const std::uint32_t head = blockIdx.y;
  const std::uint64_t kv_head = head / (args.params.n_heads / layout.n_kv_heads);
  for (std::uint32_t i = threadIdx.x; i < layout.k_dim; i += blockDim.x) {
    query[i] = static_cast<const float*>(q.data)[row * q.stride + std::uint64_t{head} * layout.k_dim + i];
    const DeviceTensor& far = args.params.far_q;
    if (far.data != nullptr)
      query[layout.k_dim + i] =
          static_cast<const float*>(far.data)[row * far.stride + std::uint64_t{head} * layout.k_dim + i];
  }
  __syncthreads();

  float most = -INFINITY, sum = 0, values[kMaxValuesEach] = {};
  for (std::uint32_t r = 0; r < sequence.run_count; ++r) {
    const DeviceRun& run = args.runs[sequence.run_begin + r];
    for (std::uint64_t tile = run.begin; tile < run.end; tile += kTile) {
      const std::uint64_t slot = tile + threadIdx.x;
      const float s = slot < run.end ? score(args, sequence, run, geometry, slot, in_sequence, head, query) : -INFINITY;
      const float new_most = fmaxf(most, block_reduce(s, scratch, -INFINITY, Max{}));
      if (new_most == -INFINITY) continue;  // the same for every thread of the block
      const float correction = expf(most - new_most), p = expf(s - new_most);
      sum = sum * correction + block_reduce(p, scratch, 0.0f, Sum{});
      most = new_most;
      probabilities[threadIdx.x] = p;
      __syncthreads();
      const std::uint64_t count = run.end - tile < kTile ? run.end - tile : kTile;
      for (int part = 0; part < kMaxValuesEach; ++part) {
        const std::uint32_t d = threadIdx.x + part * kTile;
        if (d >= layout.v_dim) break;
        float total = values[part] * correction;
        for (std::uint64_t j = 0; j < count; ++j) {
          const char* block =
              static_cast<const char*>(args.blocks[run.block_offset + (tile + j) / layout.block_tokens]);
          const std::uint64_t at = kv_head * layout.block_tokens + (tile + j) % layout.block_tokens;
          const float value_scale =
              layout.codec == KvCodec::kI8 ? reinterpret_cast<const float*>(block + geometry.value_scales)[at] : 1;
          total = fmaf(probabilities[j],
                       load(layout.codec, block + geometry.values, at * layout.v_dim + d, value_scale), total);
        }
        values[part] = total;
      }
      __syncthreads();
    }
  }
  if (args.params.sinks != nullptr && sum > 0) {
    const float sink = args.params.sinks[head], new_most = fmaxf(most, sink), correction = expf(most - new_most);
    sum = sum * correction + expf(sink - new_most);
    most = new_most;
    for (int part = 0; part < kMaxValuesEach; ++part) values[part] *= correction;
  }
  for (int part = 0; part < kMaxValuesEach; ++part) {
    const std::uint32_t d = threadIdx.x + part * kTile;
    if (d < layout.v_dim) {
      static_cast<float*>(out.data)[row * out.stride + std::uint64_t{head} * layout.v_dim + d] =
          sum > 0 ? values[part] / sum : 0;
    }
  }
  if (sequence.mass == nullptr || sum == 0) return;
  // A second look, now that the denominator is known. Additions from several rows meet in no fixed order here.
  for (std::uint32_t r = 0; r < sequence.run_count; ++r) {
    const DeviceRun& run = args.runs[sequence.run_begin + r];
    if (run.far) continue;
    float* mass = sequence.mass + head * sequence.mass_stride + run.mass_offset;
    for (std::uint64_t slot = run.begin + threadIdx.x; slot < run.end; slot += kTile) {
      const float s = score(args, sequence, run, geometry, slot, in_sequence, head, query);
      if (s > -INFINITY) atomicAdd(mass + (slot - run.begin), expf(s - most) / sum);
    }
  }
}

}  // namespace

std::uint64_t kv_block_bytes(const KvLayout& layout) { return Geometry(layout).bytes; }

void kv_append(cudaStream_t stream, const KvLayout& layout, void* const* blocks, std::uint64_t first_slot,
               DeviceTensor k, DeviceTensor v) {
  if (k.rows == 0) return;
  kv_append_kernel<<<dim3(static_cast<unsigned>(k.rows), layout.n_kv_heads), kWarp, 0, stream>>>(layout, blocks,
                                                                                                 first_slot, k, v);
}

void kv_keys(cudaStream_t stream, const KvLayout& layout, void* const* blocks, std::uint64_t first_slot,
             DeviceTensor out) {
  kv_keys_kernel<<<dim3(static_cast<unsigned>(out.rows), layout.n_kv_heads), kWarp, 0, stream>>>(layout, blocks,
                                                                                                 first_slot, out);
}

void attention(cudaStream_t stream, DeviceTensor out, DeviceTensor q, const AttentionArgs& args) {
  if (args.n_rows == 0) return;
  attention_kernel<<<dim3(args.n_rows, args.params.n_heads), kTile, 2 * args.layout.k_dim * sizeof(float), stream>>>(
      out, q, args);
}

}  // namespace lathe::kernels::cuda
