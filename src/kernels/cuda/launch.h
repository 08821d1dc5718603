// Host entry points of the device code: each enqueues on `stream` and returns. Plain types only, so that the backend
// itself is compiled by the host compiler. Every output element is reduced in one fixed order by one warp or block,
// whatever the other rows of the call are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/device_tensor.h"
#include "kernels/router.h"
#include "tensor/op_kinds.h"

namespace lathe::kernels::cuda {

// How a matrix lies in device memory: row-major, blocks as in the file.
enum class MatrixFormat : std::uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0 };

struct Matrix {
  const void* data = nullptr;
  MatrixFormat format = MatrixFormat::kF32;
  std::uint64_t rows = 0, cols = 0, row_bytes = 0;
};

struct LinearArgs {
  Matrix weight;
  const std::uint32_t* permutation = nullptr;  // nullptr, or cols indices
  const float* input_scale = nullptr;          // nullptr, or cols factors
  const float* bias = nullptr;                 // nullptr, or rows
};

void linear(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const LinearArgs& args, bool accumulate);
// out[i] = weights[choice[i]] * x[i * x.rows / out.rows]; weights: device array of `count` of one format and shape.
void grouped_linear(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const LinearArgs* weights,
                    MatrixFormat format, std::uint32_t count, const std::int32_t* choice);
// As Backend::route; scratch: 3 * logits.rows * logits.cols floats.
void route(cudaStream_t stream, const RouterParams& params, DeviceTensor weights, DeviceTensor experts,
           DeviceTensor logits, float* scratch);
void combine(cudaStream_t stream, DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate);
void embed(cudaStream_t stream, DeviceTensor out, const Matrix& table, const std::int32_t* ids, float scale,
           bool accumulate);

void norm(cudaStream_t stream, NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight, const float* bias,
          std::uint64_t weight_size, float eps);
// Angles of positions below `rounded` are rounded to float.
void rope_table(cudaStream_t stream, DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                std::uint64_t n_freq, float mscale, std::int32_t rounded);
void rope(cudaStream_t stream, DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout);

void activate(cudaStream_t stream, ActivationKind kind, DeviceTensor out, DeviceTensor x);
void gated(cudaStream_t stream, ActivationKind kind, DeviceTensor out, DeviceTensor gate, DeviceTensor up);
void gated_clamped(cudaStream_t stream, DeviceTensor out, DeviceTensor gate, DeviceTensor up, float limit);
void add(cudaStream_t stream, DeviceTensor out, DeviceTensor a, DeviceTensor b);
void assign(cudaStream_t stream, DeviceTensor out, DeviceTensor x);
void scale(cudaStream_t stream, DeviceTensor x, float factor);
void softcap(cudaStream_t stream, DeviceTensor x, float cap);
// out[i] = x[rows[i]]; out[rows[i]] += factor * x[i]. `rows` is a device array.
void gather(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const std::uint32_t* rows);
void scatter_add(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const std::uint32_t* rows, float factor);
void argmax(cudaStream_t stream, std::int32_t* out, DeviceTensor x);

// A KV block: keys [n_kv_heads][block_tokens][k_dim], values [n_kv_heads][block_tokens][v_dim], then for int8 the key
// scales and value scales, f32 [n_kv_heads][block_tokens] each.
std::uint64_t kv_block_bytes(const KvLayout& layout);
// `blocks`: device array of block addresses.
void kv_append(cudaStream_t stream, const KvLayout& layout, void* const* blocks, std::uint64_t first_slot,
               DeviceTensor k, DeviceTensor v);
// out's rows: the keys at `first_slot` and behind it.
void kv_keys(cudaStream_t stream, const KvLayout& layout, void* const* blocks, std::uint64_t first_slot,
             DeviceTensor out);

// AttentionSequence and KvRun flattened into device arrays.
struct DeviceRun {
  std::uint64_t block_offset;  // of the run's first address in `blocks`
  std::uint64_t begin, end;
  std::int64_t first_position, window, lag;
  std::uint64_t mass_offset;  // of slot `begin` in a head's mass
  bool far;
};
struct DeviceSequence {
  std::int64_t first_position;
  std::uint64_t row_begin, row_count, bidirectional_rows;
  std::uint32_t run_begin, run_count;
  float* mass;
  std::uint64_t mass_stride;
};
struct AttentionArgs {
  KvLayout layout;
  AttentionParams params;
  const DeviceSequence* sequences;    // device
  const DeviceRun* runs;              // device
  void* const* blocks;                // device
  const std::uint32_t* row_sequence;  // device: for each launched row its sequence
  const std::uint32_t* row_index;     // device: and its row of q and out
  std::uint32_t n_rows;
};
void attention(cudaStream_t stream, DeviceTensor out, DeviceTensor q, const AttentionArgs& args);

}  // namespace lathe::kernels::cuda
