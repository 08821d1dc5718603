// Products with a weight matrix, and look-ups of its rows, for every MatrixFormat. One warp computes one output feature
// for a few rows of x; its lanes walk the columns in strides of 32, so the order of additions never depends on the
// rows.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace lathe::kernels::cuda {
namespace {

constexpr int kRowsPerWarp = 4;
constexpr int kWarpsPerBlock = 4;

// Element `column` of a row at `row`.
struct LoadF32 {
  static __device__ float at(const char* row, std::uint64_t column) {
    return reinterpret_cast<const float*>(row)[column];
  }
};
struct LoadF16 {
  static __device__ float at(const char* row, std::uint64_t column) {
    return __half2float(reinterpret_cast<const __half*>(row)[column]);
  }
};
struct LoadBF16 {
  static __device__ float at(const char* row, std::uint64_t column) {
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[column]);
  }
};
// Blocks of 32: a half scale, then 32 int8.
struct LoadQ8_0 {
  static __device__ float at(const char* row, std::uint64_t column) {
    const char* block = row + column / 32 * 34;
    const float scale = __half2float(*reinterpret_cast<const __half*>(block));
    return scale * static_cast<float>(reinterpret_cast<const signed char*>(block + 2)[column % 32]);
  }
};
// Blocks of 32: a half scale, then 16 bytes whose low nibbles are elements 0..15 and high nibbles 16..31, offset by 8.
struct LoadQ4_0 {
  static __device__ float at(const char* row, std::uint64_t column) {
    const char* block = row + column / 32 * 18;
    const float scale = __half2float(*reinterpret_cast<const __half*>(block));
    const int in_block = static_cast<int>(column % 32);
    const unsigned char byte = reinterpret_cast<const unsigned char*>(block + 2)[in_block % 16];
    return scale * static_cast<float>((in_block < 16 ? byte & 15 : byte >> 4) - 8);
  }
};

template <class Load>
__global__ void linear_kernel(DeviceTensor out, DeviceTensor x, LinearArgs args, bool accumulate) {
  const std::uint64_t feature = std::uint64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (feature >= args.weight.rows) return;
  const int lane = threadIdx.x % kWarp;
  const std::uint64_t first_row = std::uint64_t{blockIdx.y} * kRowsPerWarp;
  const int rows = static_cast<int>(
      min(static_cast<unsigned long long>(kRowsPerWarp), static_cast<unsigned long long>(x.rows - first_row)));
  const char* weight = static_cast<const char*>(args.weight.data) + feature * args.weight.row_bytes;
  const float* input = static_cast<const float*>(x.data) + first_row * x.stride;
  float sums[kRowsPerWarp] = {};
  for (std::uint64_t column = lane; column < args.weight.cols; column += kWarp) {
    float w = Load::at(weight, column);
    if (args.input_scale != nullptr) w *= args.input_scale[column];
    const std::uint64_t from = args.permutation != nullptr ? args.permutation[column] : column;
    for (int r = 0; r < rows; ++r) sums[r] = fmaf(w, input[r * x.stride + from], sums[r]);
  }
  for (int r = 0; r < rows; ++r) {
    const float sum = warp_sum(sums[r]) + (args.bias != nullptr ? args.bias[feature] : 0.0f);
    float* target = static_cast<float*>(out.data) + (first_row + r) * out.stride + feature;
    if (lane == 0) *target = accumulate ? *target + sum : sum;
  }
}

// One warp computes one output feature of one row.
template <class Load>
__global__ void grouped_linear_kernel(DeviceTensor out, DeviceTensor x, const LinearArgs* weights, std::uint32_t count,
                                      const std::int32_t* choice) {
  const std::uint64_t feature = std::uint64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp, row = blockIdx.y;
  const LinearArgs& args = weights[choice != nullptr ? static_cast<std::uint32_t>(choice[row]) : row % count];
  if (feature >= args.weight.rows) return;
  const int lane = threadIdx.x % kWarp;
  const char* weight = static_cast<const char*>(args.weight.data) + feature * args.weight.row_bytes;
  const float* input = static_cast<const float*>(x.data) + row / (out.rows / x.rows) * x.stride;
  float sum = 0;
  for (std::uint64_t column = lane; column < args.weight.cols; column += kWarp) {
    float w = Load::at(weight, column);
    if (args.input_scale != nullptr) w *= args.input_scale[column];
    sum = fmaf(w, input[args.permutation != nullptr ? args.permutation[column] : column], sum);
  }
  sum = warp_sum(sum) + (args.bias != nullptr ? args.bias[feature] : 0.0f);
  if (lane == 0) static_cast<float*>(out.data)[row * out.stride + feature] = sum;
}

template <class Load>
__global__ void embed_kernel(DeviceTensor out, Matrix table, const std::int32_t* ids, float scale, bool accumulate) {
  const char* row =
      static_cast<const char*>(table.data) + static_cast<std::uint64_t>(ids[blockIdx.x]) * table.row_bytes;
  float* target = static_cast<float*>(out.data) + blockIdx.x * out.stride;
  for (std::uint64_t column = threadIdx.x; column < table.cols; column += blockDim.x) {
    const float value = scale * Load::at(row, column);
    target[column] = accumulate ? target[column] + value : value;
  }
}

// Calls run(Load{}) with the loader of `format`.
template <class Run>
void with_loader(MatrixFormat format, Run run) {
  switch (format) {
    case MatrixFormat::kF32:
      return run(LoadF32{});
    case MatrixFormat::kF16:
      return run(LoadF16{});
    case MatrixFormat::kBF16:
      return run(LoadBF16{});
    case MatrixFormat::kQ8_0:
      return run(LoadQ8_0{});
    case MatrixFormat::kQ4_0:
      return run(LoadQ4_0{});
  }
}

}  // namespace

void linear(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const LinearArgs& args, bool accumulate) {
  if (x.rows == 0) return;
  const dim3 grid(static_cast<unsigned>((args.weight.rows + kWarpsPerBlock - 1) / kWarpsPerBlock),
                  static_cast<unsigned>((x.rows + kRowsPerWarp - 1) / kRowsPerWarp));
  with_loader(args.weight.format, [&](auto load) {
    linear_kernel<decltype(load)><<<grid, kWarp * kWarpsPerBlock, 0, stream>>>(out, x, args, accumulate);
  });
}

void grouped_linear(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const LinearArgs* weights,
                    MatrixFormat format, std::uint32_t count, const std::int32_t* choice) {
  if (out.rows == 0) return;
  const dim3 grid(static_cast<unsigned>((out.cols + kWarpsPerBlock - 1) / kWarpsPerBlock),
                  static_cast<unsigned>(out.rows));
  with_loader(format, [&](auto load) {
    grouped_linear_kernel<decltype(load)><<<grid, kWarp * kWarpsPerBlock, 0, stream>>>(out, x, weights, count, choice);
  });
}

void embed(cudaStream_t stream, DeviceTensor out, const Matrix& table, const std::int32_t* ids, float scale,
           bool accumulate) {
  if (out.rows == 0) return;
  with_loader(table.format, [&](auto load) {
    embed_kernel<decltype(load)>
        <<<static_cast<unsigned>(out.rows), 128, 0, stream>>>(out, table, ids, scale, accumulate);
  });
}

}  // namespace lathe::kernels::cuda
