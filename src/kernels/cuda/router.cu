// Routing tokens to experts, and the sum of what experts return. One thread chooses for one row: a few hundred logits,
// in the order that the CPU backend walks them too.
#include "kernels/cuda/launch.h"

namespace lathe::kernels::cuda {
namespace {

constexpr int kThreads = 64;

__device__ void softmax(const float* in, float* out, std::uint32_t n) {
  float most = -INFINITY, sum = 0;
  for (std::uint32_t i = 0; i < n; ++i) most = fmaxf(most, in[i]);
  for (std::uint32_t i = 0; i < n; ++i) sum += out[i] = expf(in[i] - most);
  for (std::uint32_t i = 0; i < n; ++i) out[i] /= sum;
}

// A group's best rank, or with a correction the sum of its two best.
__device__ float group_worth(const float* ranks, std::uint32_t size, bool two_best) {
  float first = -INFINITY, second = -INFINITY;
  for (std::uint32_t i = 0; i < size; ++i) {
    if (ranks[i] > first) {
      second = first, first = ranks[i];
    } else if (ranks[i] > second) {
      second = ranks[i];
    }
  }
  return two_best ? first + second : first;
}

// Ranks of all groups but the best become -infinity; `worth` takes n_groups floats.
__device__ void limit_groups(const RouterParams& params, float* ranks, std::uint32_t n, float* worth) {
  const std::uint32_t size = n / params.n_groups;
  for (std::uint32_t g = 0; g < params.n_groups; ++g)
    worth[g] = group_worth(ranks + g * size, size, params.correction != nullptr);
  for (std::uint32_t g = 0; g < params.n_groups; ++g) {
    std::uint32_t better = 0;
    for (std::uint32_t o = 0; o < params.n_groups; ++o)
      better += worth[o] > worth[g] || (worth[o] == worth[g] && o < g);
    if (better < params.top_groups) continue;
    for (std::uint32_t i = 0; i < size; ++i) ranks[g * size + i] = -INFINITY;
  }
}

__global__ void route_kernel(RouterParams params, DeviceTensor weights, DeviceTensor experts, DeviceTensor logits,
                             float* scratch) {
  const std::uint64_t row = std::uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= logits.rows) return;
  const auto n = static_cast<std::uint32_t>(logits.cols);
  const float* in = static_cast<const float*>(logits.data) + row * logits.stride;
  float *scores = scratch + row * 3 * n, *ranks = scores + n;
  float* weight = static_cast<float*>(weights.data) + row * weights.stride;
  auto* expert = static_cast<std::int32_t*>(experts.data) + row * experts.stride;
  if (params.score == RouterScore::kSoftmax) {
    softmax(in, scores, n);
  } else {
    for (std::uint32_t i = 0; i < n; ++i)
      scores[i] = params.score == RouterScore::kSigmoid ? 1 / (1 + expf(-in[i])) : in[i];
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    const float rank = params.correction != nullptr ? scores[i] + params.correction[i] : scores[i];
    ranks[i] = rank >= -3.4e38f ? rank : -3.4e38f;
  }
  if (params.n_groups > params.top_groups) limit_groups(params, ranks, n, ranks + n);
  for (std::uint32_t k = 0; k < params.top_k; ++k) {
    std::uint32_t best = 0;
    for (std::uint32_t i = 1; i < n; ++i) best = ranks[i] > ranks[best] ? i : best;
    expert[k] = static_cast<std::int32_t>(best);
    weight[k] = scores[best];
    ranks[best] = -INFINITY;
  }
  if (params.score == RouterScore::kSoftmaxOfChosen) softmax(weight, weight, params.top_k);
  float factor = params.scale;
  if (params.normalize) {
    float sum = 1e-20f;
    for (std::uint32_t k = 0; k < params.top_k; ++k) sum += weight[k];
    factor /= sum;
  }
  for (std::uint32_t k = 0; k < params.top_k; ++k) weight[k] *= factor;
}

__global__ void combine_kernel(DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate) {
  const std::uint64_t row = blockIdx.x;
  const float* weight = static_cast<const float*>(weights.data) + row * weights.stride;
  float* target = static_cast<float*>(out.data) + row * out.stride;
  for (std::uint64_t column = threadIdx.x; column < out.cols; column += blockDim.x) {
    float sum = accumulate ? target[column] : 0;
    for (std::uint64_t j = 0; j < weights.cols; ++j) {
      sum = fmaf(weight[j], static_cast<const float*>(x.data)[(row * weights.cols + j) * x.stride + column], sum);
    }
    target[column] = sum;
  }
}

}  // namespace

void route(cudaStream_t stream, const RouterParams& params, DeviceTensor weights, DeviceTensor experts,
           DeviceTensor logits, float* scratch) {
  if (logits.rows == 0) return;
  const auto blocks = static_cast<unsigned>((logits.rows + kThreads - 1) / kThreads);
  route_kernel<<<blocks, kThreads, 0, stream>>>(params, weights, experts, logits, scratch);
}

void combine(cudaStream_t stream, DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate) {
  if (out.rows > 0) combine_kernel<<<static_cast<unsigned>(out.rows), 256, 0, stream>>>(out, x, weights, accumulate);
}

}  // namespace lathe::kernels::cuda
