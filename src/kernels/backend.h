// The one interface to a device. Operations take device tensors and a stream and enqueue; the host sees results only
// through download(). A backend owns all device memory: weights, KV blocks, workspace.
//
// Determinism: a row of any result is computed in an order that does not depend on the other rows of the call.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/attention.h"
#include "kernels/device_tensor.h"
#include "kernels/router.h"
#include "tensor/activation_format.h"
#include "tensor/linear.h"
#include "tensor/op_kinds.h"

namespace lathe::kernels {

// A linear layer as the device wants it: mapped, repacked or uploaded.
class PreparedLinear {
 public:
  virtual ~PreparedLinear() = default;
  virtual std::uint64_t out_features() const = 0;
  virtual std::uint64_t in_features() const = 0;
  virtual std::string_view codec() const = 0;
  virtual std::string_view kernel() const = 0;  // "q8_0 x q8, AVX2"
  virtual std::uint64_t bytes() const = 0;      // read per product with one row
};

// A table of rows looked up by id (token and position embeddings).
class PreparedTable {
 public:
  virtual ~PreparedTable() = default;
  virtual std::uint64_t rows() const = 0;
  virtual std::uint64_t width() const = 0;
};

// One product of a group that shares its input.
struct LinearCall {
  const PreparedLinear* weight = nullptr;
  DeviceTensor out;         // [rows, out_features], f32
  bool accumulate = false;  // out += instead of out =
};

// One product of a group whose rows choose among matrices of one shape.
struct GroupedCall {
  std::span<const PreparedLinear* const> weights;
  DeviceTensor out;  // [choices, out_features], f32
};

// An order of execution; work enqueued on one stream runs in that order. One thread uses a stream at a time.
class Stream {
 public:
  virtual ~Stream() = default;
};

// Below this position the angles of RoPE are rounded to float, as every implementation that models are trained with
// does; beyond it a float could not hold them (a model with a window or a memory of its own may get there).
inline constexpr std::int32_t kRoundedAngles = 1 << 17;

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;    // "cpu", "cuda:0"
  virtual std::string description() const = 0;  // "2 threads, AVX2"
  // What the bits of results and the bytes of KV blocks depend on beside their inputs: "cpu, AVX2".
  virtual std::string arithmetic() const = 0;
  virtual std::unique_ptr<Stream> make_stream() = 0;

  // --- memory ---
  virtual DeviceBuffer allocate(std::uint64_t bytes) = 0;  // 64-byte aligned, zeroed; throws Error when there is none
  // The same in a file of `folder`, for what is seldom read; not counted below. Devices of their own memory refuse it.
  virtual DeviceBuffer allocate_in_file(const std::filesystem::path& folder, std::uint64_t bytes);
  // Will not be read for a while: what lies in a file may leave memory.
  virtual void page_out(void* memory, std::uint64_t bytes);
  virtual std::uint64_t allocated_bytes() const = 0;  // by allocate() and prepare_*(), still held
  virtual void upload(Stream& stream, void* target, const void* source, std::uint64_t bytes) = 0;
  virtual void download(Stream& stream, void* target, const void* source, std::uint64_t bytes) = 0;  // waits
  virtual void copy(Stream& stream, void* target, const void* source, std::uint64_t bytes) = 0;      // device to device
  virtual void synchronize(Stream& stream) = 0;

  // --- weights ---
  virtual std::shared_ptr<const PreparedLinear> prepare(const Linear& linear) = 0;
  virtual std::shared_ptr<const PreparedTable> prepare_table(const PackedTensor& table) = 0;
  DeviceBuffer upload_floats(Stream& stream, std::span<const float> values);

  // --- operations; all tensors f32 unless said otherwise ---
  // out[r] = scale * table[ids[r]], or += with accumulate. ids: i32 [rows], each below table.rows().
  virtual void embed(Stream& stream, DeviceTensor out, const PreparedTable& table, const std::int32_t* ids, float scale,
                     bool accumulate) = 0;
  // Every call's out = weight * x (+ bias); x [rows, in_features] is prepared once per activation format.
  virtual void linear(Stream& stream, DeviceTensor x, std::span<const LinearCall> calls) = 0;
  // Every call's out[i] = weights[choice[i]] * x[i * x.rows / out.rows] (+ bias): products with experts, where x.rows
  // divides out.rows. choice: i32 [out.rows] on the device, each below weights.size(), or nullptr for i mod
  // weights.size() (a matrix per head). A matrix that no row chose is not read.
  virtual void grouped_linear(Stream& stream, DeviceTensor x, const std::int32_t* choice,
                              std::span<const GroupedCall> calls) = 0;
  // The top_k experts of each row of logits [rows, experts], best first, the lowest index on a tie, into experts (i32
  // [rows, top_k]), and what their outputs are weighed with into weights [rows, top_k].
  virtual void route(Stream& stream, const RouterParams& params, DeviceTensor weights, DeviceTensor experts,
                     DeviceTensor logits) = 0;
  // out[r] = (or +=) the sum over j of weights[r][j] * x[r * weights.cols + j], in the order of j.
  virtual void combine(Stream& stream, DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate) = 0;
  // Low-rank update of chosen rows: out[r] += scale * B (A x[r]) for r in rows; A [rank, in], B [out, rank] (LoRA).
  virtual void low_rank(Stream& stream, DeviceTensor out, DeviceTensor x, const PreparedLinear& a,
                        const PreparedLinear& b, float scale, std::span<const std::uint32_t> rows) = 0;
  // Normalises runs of `weight_size` columns: a row of x, or each head of it. weight and bias: device f32 or nullptr.
  virtual void norm(Stream& stream, NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight,
                    const float* bias, std::uint64_t weight_size, float eps) = 0;
  // table[r] = mscale * {cos, sin}(positions[r] * inv_freq[i]), as [rows, 2 * n_freq]: cosines, then sines.
  virtual void rope_table(Stream& stream, DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                          std::uint64_t n_freq, float mscale) = 0;
  // Rotates the first 2 * n_freq elements of each head_dim-wide head of x in place (Su et al. 2021). x may have several
  // rows, one after the other, for every row of the table.
  virtual void rope(Stream& stream, DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout) = 0;

  virtual std::uint64_t kv_block_bytes(const KvLayout& layout) const = 0;
  // Stores row i of k [rows, n_kv_heads * k_dim] and v at slot first_slot + i of `blocks`.
  virtual void kv_append(Stream& stream, const KvLayout& layout, std::span<void* const> blocks,
                         std::uint64_t first_slot, DeviceTensor k, DeviceTensor v) = 0;
  // out [rows, n_kv_heads * k_dim] = the keys at slot first_slot and those behind it.
  virtual void kv_keys(Stream& stream, const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
                       DeviceTensor out) = 0;
  // out [rows, n_heads * v_dim] from q [rows, n_heads * k_dim]; rows of no sequence are left as they are. Query heads
  // share KV heads in consecutive groups of n_heads / n_kv_heads.
  virtual void attention(Stream& stream, const KvLayout& layout, const AttentionParams& params, DeviceTensor out,
                         DeviceTensor q, std::span<const AttentionSequence> sequences) = 0;

  virtual void activate(Stream& stream, ActivationKind kind, DeviceTensor out, DeviceTensor x) = 0;
  // out = activation(gate) * up
  virtual void gated(Stream& stream, ActivationKind kind, DeviceTensor out, DeviceTensor gate, DeviceTensor up) = 0;
  // out = (min(max(up, -limit), limit) + 1) * gelu_quick(min(gate, limit)), the gate of gpt-oss.
  virtual void gated_clamped(Stream& stream, DeviceTensor out, DeviceTensor gate, DeviceTensor up, float limit) = 0;
  virtual void add(Stream& stream, DeviceTensor out, DeviceTensor a, DeviceTensor b) = 0;
  virtual void assign(Stream& stream, DeviceTensor out, DeviceTensor x) = 0;  // out = x
  virtual void scale(Stream& stream, DeviceTensor x, float factor) = 0;
  // x = cap * tanh(x / cap)
  virtual void softcap(Stream& stream, DeviceTensor x, float cap) = 0;
  // out[i] = x[rows[i]]; rows: host array.
  virtual void gather_rows(Stream& stream, DeviceTensor out, DeviceTensor x, std::span<const std::uint32_t> rows) = 0;
  // out[r] (i32) = index of the largest element of row r, the lowest on a tie.
  virtual void argmax(Stream& stream, std::int32_t* out, DeviceTensor x) = 0;
};

struct CpuOptions {
  int threads = 0;              // <= 0: every usable core
  std::string kernel = "auto";  // "auto", "scalar", or an instruction set the machine has ("avx2", "avx3", ...)
};

// Throws when `kernel` names no set of kernels this machine can run.
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);
// Throws an Error that says how to build with CUDA when this build has none, or that no device answers.
std::unique_ptr<Backend> make_cuda_backend(int device);
// "cpu", "cuda", "cuda:1".
std::unique_ptr<Backend> make_backend(std::string_view device, const CpuOptions& cpu_options);

}  // namespace lathe::kernels
