// Norms, rotary embedding, activations and the other operations on single rows.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace lathe::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float apply(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return x / (1 + expf(-x));
    case ActivationKind::kGelu:
      return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
    case ActivationKind::kGeluTanh:
      return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case ActivationKind::kGeluQuick:
      return x / (1 + expf(-1.702f * x));
    case ActivationKind::kRelu:
      return fmaxf(x, 0);
    case ActivationKind::kRelu2:
      return x > 0 ? x * x : 0;
  }
  return x;
}

__device__ float& element(DeviceTensor t, std::uint64_t row, std::uint64_t column) {
  return static_cast<float*>(t.data)[row * t.stride + column];
}

// One block per normalised run of `size` columns.
__global__ void norm_kernel(NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight, const float* bias,
                            std::uint64_t size, float eps) {
  __shared__ float scratch[kWarp];
  const std::uint64_t runs = x.cols / size, row = blockIdx.x / runs, first = blockIdx.x % runs * size;
  float mean = 0;
  if (kind == NormKind::kLayer) {
    float sum = 0;
    for (std::uint64_t i = threadIdx.x; i < size; i += blockDim.x) sum += element(x, row, first + i);
    mean = block_reduce(sum, scratch, 0.0f, Sum{}) / static_cast<float>(size);
  }
  float squares = 0;
  for (std::uint64_t i = threadIdx.x; i < size; i += blockDim.x) {
    const float centred = element(x, row, first + i) - mean;
    squares += centred * centred;
  }
  const float factor = rsqrtf(block_reduce(squares, scratch, 0.0f, Sum{}) / static_cast<float>(size) + eps);
  for (std::uint64_t i = threadIdx.x; i < size; i += blockDim.x) {
    float value = (element(x, row, first + i) - mean) * factor;
    if (weight != nullptr) value *= weight[i];
    if (bias != nullptr) value += bias[i];
    element(out, row, first + i) = value;
  }
}

__global__ void rope_table_kernel(DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                                  std::uint64_t n_freq, float mscale, std::int32_t rounded) {
  for (std::uint64_t i = threadIdx.x; i < n_freq; i += blockDim.x) {
    if (positions[blockIdx.x] < rounded) {
      const float angle = static_cast<float>(positions[blockIdx.x]) * inv_freq[i];
      element(table, blockIdx.x, i) = mscale * cosf(angle);
      element(table, blockIdx.x, n_freq + i) = mscale * sinf(angle);
    } else {
      const double angle = static_cast<double>(positions[blockIdx.x]) * inv_freq[i];
      element(table, blockIdx.x, i) = mscale * static_cast<float>(cos(angle));
      element(table, blockIdx.x, n_freq + i) = mscale * static_cast<float>(sin(angle));
    }
  }
}

__global__ void rope_kernel(DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout) {
  const std::uint64_t n_freq = table.cols / 2, heads = x.cols / head_dim, row = blockIdx.x;
  const std::uint64_t table_row = row / (x.rows / table.rows);
  for (std::uint64_t i = threadIdx.x; i < heads * n_freq; i += blockDim.x) {
    const std::uint64_t head = i / n_freq * head_dim, f = i % n_freq;
    float& a = element(x, row, head + (layout == RopeLayout::kInterleaved ? 2 * f : f));
    float& b = element(x, row, head + (layout == RopeLayout::kInterleaved ? 2 * f + 1 : f + n_freq));
    const float cosine = element(table, table_row, f), sine = element(table, table_row, n_freq + f), old = a;
    a = old * cosine - b * sine;
    b = old * sine + b * cosine;
  }
}

// out[row][column] = function(row, column), one thread per element.
template <class Function>
__global__ void map_kernel(DeviceTensor out, Function function) {
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < out.rows * out.cols;
       i += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t row = i / out.cols, column = i % out.cols;
    element(out, row, column) = function(row, column);
  }
}

template <class Function>
void map(cudaStream_t stream, DeviceTensor out, Function function) {
  const std::uint64_t elements = out.rows * out.cols;
  if (elements == 0) return;
  const std::uint64_t blocks = (elements + kThreads - 1) / kThreads;
  map_kernel<<<static_cast<unsigned>(blocks < 65535 ? blocks : 65535), kThreads, 0, stream>>>(out, function);
}

__global__ void scatter_add_kernel(DeviceTensor out, DeviceTensor x, const std::uint32_t* rows, float factor) {
  for (std::uint64_t column = threadIdx.x; column < x.cols; column += blockDim.x) {
    element(out, rows[blockIdx.x], column) += factor * element(x, blockIdx.x, column);
  }
}

// The largest element, the lowest index on a tie; NaN never wins.
__global__ void argmax_kernel(std::int32_t* out, DeviceTensor x) {
  __shared__ float best_value[kThreads];
  __shared__ std::int32_t best_index[kThreads];
  float value = -INFINITY;
  std::int32_t index = 0x7fffffff;
  for (std::uint64_t i = threadIdx.x; i < x.cols; i += blockDim.x) {
    if (element(x, blockIdx.x, i) > value) {
      value = element(x, blockIdx.x, i);
      index = static_cast<std::int32_t>(i);
    }
  }
  best_value[threadIdx.x] = value;
  best_index[threadIdx.x] = index;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      const float other = best_value[threadIdx.x + half];
      const std::int32_t other_index = best_index[threadIdx.x + half];
      if (other > best_value[threadIdx.x] ||
          (other == best_value[threadIdx.x] && other_index < best_index[threadIdx.x])) {
        best_value[threadIdx.x] = other;
        best_index[threadIdx.x] = other_index;
      }
    }
  }
  if (threadIdx.x == 0) out[blockIdx.x] = best_index[0] == 0x7fffffff ? 0 : best_index[0];
}

}  // namespace

void norm(cudaStream_t stream, NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight, const float* bias,
          std::uint64_t weight_size, float eps) {
  const std::uint64_t runs = x.rows * (x.cols / weight_size);
  if (runs > 0)
    norm_kernel<<<static_cast<unsigned>(runs), kThreads, 0, stream>>>(kind, out, x, weight, bias, weight_size, eps);
}

void rope_table(cudaStream_t stream, DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                std::uint64_t n_freq, float mscale, std::int32_t rounded) {
  if (table.rows > 0)
    rope_table_kernel<<<static_cast<unsigned>(table.rows), 64, 0, stream>>>(table, positions, inv_freq, n_freq, mscale,
                                                                            rounded);
}

void rope(cudaStream_t stream, DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout) {
  if (x.rows > 0) rope_kernel<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(x, table, head_dim, layout);
}

void activate(cudaStream_t stream, ActivationKind kind, DeviceTensor out, DeviceTensor x) {
  map(stream, out, [=] __device__(std::uint64_t r, std::uint64_t c) { return apply(kind, element(x, r, c)); });
}

void gated(cudaStream_t stream, ActivationKind kind, DeviceTensor out, DeviceTensor gate, DeviceTensor up) {
  map(stream, out, [=] __device__(std::uint64_t r, std::uint64_t c) {
    return apply(kind, element(gate, r, c)) * element(up, r, c);
  });
}

void gated_clamped(cudaStream_t stream, DeviceTensor out, DeviceTensor gate, DeviceTensor up, float limit) {
  map(stream, out, [=] __device__(std::uint64_t r, std::uint64_t c) {
    const float g = element(gate, r, c), u = element(up, r, c);
    const float clamped = u > limit ? limit : u < -limit ? -limit : u;
    return (clamped + 1) * apply(ActivationKind::kGeluQuick, g > limit ? limit : g);
  });
}

void assign(cudaStream_t stream, DeviceTensor out, DeviceTensor x) {
  map(stream, out, [=] __device__(std::uint64_t r, std::uint64_t c) { return element(x, r, c); });
}

void add(cudaStream_t stream, DeviceTensor out, DeviceTensor a, DeviceTensor b) {
  map(stream, out, [=] __device__(std::uint64_t r, std::uint64_t c) { return element(a, r, c) + element(b, r, c); });
}

void scale(cudaStream_t stream, DeviceTensor x, float factor) {
  map(stream, x, [=] __device__(std::uint64_t r, std::uint64_t c) { return factor * element(x, r, c); });
}

void softcap(cudaStream_t stream, DeviceTensor x, float cap) {
  map(stream, x, [=] __device__(std::uint64_t r, std::uint64_t c) { return cap * tanhf(element(x, r, c) / cap); });
}

void gather(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const std::uint32_t* rows) {
  map(stream, out, [=] __device__(std::uint64_t r, std::uint64_t c) { return element(x, rows[r], c); });
}

void scatter_add(cudaStream_t stream, DeviceTensor out, DeviceTensor x, const std::uint32_t* rows, float factor) {
  if (x.rows > 0) scatter_add_kernel<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(out, x, rows, factor);
}

void argmax(cudaStream_t stream, std::int32_t* out, DeviceTensor x) {
  if (x.rows > 0) argmax_kernel<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(out, x);
}

}  // namespace lathe::kernels::cuda
