// F32, F16 and BF16 weights with float input, and every codec without a kernel of its own by way of floats. Lanes run
// along the columns: each pair (weight row, input row) has one vector accumulator, filled from the first column to the
// last and summed across at the end, however many pairs share a tile.
#include "kernels/cpu/float_matmul.h"

#include <algorithm>
#include <span>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float_matmul.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulKernel f32_kernel() { return {}; }
MatmulKernel f16_kernel() { return {}; }
MatmulKernel bf16_kernel() { return {}; }
MatmulKernel decoded_kernel() { return {}; }
#else

// Tiles of pairs, sized for the registers.
constexpr int kWeightRows = 4;
constexpr int kInputRows = HWY_TARGET == HWY_AVX2 ? 3 : 6;

template <class W>
HWY_INLINE VF load_weights(const W* w) {
  if constexpr (sizeof(W) == 4) {
    return hn::LoadU(DF(), w);
  } else {
    return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<W, DF>(), w));
  }
}

template <class W>
HWY_INLINE VF load_weights_tail(const W* w, std::size_t n) {
  alignas(64) W buffer[kLanes];
  std::memset(buffer, 0, sizeof buffer);
  std::memcpy(buffer, w, n * sizeof(W));
  return load_weights(buffer);
}

// Features [feature, feature + kFeatures) of rows [row, row + kRows). w: one pointer per feature.
template <class W, int kFeatures, int kRows>
HWY_INLINE void multiply(const MatmulJob& job, const W* const* w, std::size_t feature, std::size_t row) {
  const DF d;
  VF sums[kFeatures][kRows];
  const float* x[kRows];
  for (int r = 0; r < kRows; ++r) x[r] = job.x + (row + static_cast<std::size_t>(r)) * job.x_stride;
  for (int f = 0; f < kFeatures; ++f) {
    for (int r = 0; r < kRows; ++r) sums[f][r] = hn::Zero(d);
  }
  // The weights that come after these are consecutive: a share of them is fetched with every step.
  const W* next = w[kFeatures - 1] + job.in_features;
  std::size_t i = 0;
  for (; i + kLanes <= job.in_features; i += kLanes) {
    if constexpr (kRows == 1) {
      for (int f = 0; f < kFeatures; f += 4 / static_cast<int>(sizeof(W))) {
        __builtin_prefetch(next + (i * kFeatures + static_cast<std::size_t>(f) * kLanes), 0, 2);
      }
    }
    VF in[kRows];
    for (int r = 0; r < kRows; ++r) in[r] = hn::Load(d, x[r] + i);
    for (int f = 0; f < kFeatures; ++f) {
      const VF weights = load_weights(w[f] + i);
      for (int r = 0; r < kRows; ++r) sums[f][r] = hn::MulAdd(weights, in[r], sums[f][r]);
    }
  }
  if (i < job.in_features) {  // the input is padded with zeros
    for (int f = 0; f < kFeatures; ++f) {
      const VF weights = load_weights_tail(w[f] + i, job.in_features - i);
      for (int r = 0; r < kRows; ++r) sums[f][r] = hn::MulAdd(weights, hn::Load(d, x[r] + i), sums[f][r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float* out = job.out + (row + static_cast<std::size_t>(r)) * job.out_stride + feature;
    for (int f = 0; f < kFeatures; ++f) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[f][r]));
      if (job.bias) sum += job.bias[feature + static_cast<std::size_t>(f)];
      out[f] = job.accumulate ? out[f] + sum : sum;
    }
  }
}

// Every row with features [feature, feature + kFeatures) whose weights begin at w.
template <class W, int kFeatures>
HWY_INLINE void multiply_rows(const MatmulJob& job, const W* const* w, std::size_t feature) {
  std::size_t row = 0;
  for (; row + kInputRows <= job.rows; row += kInputRows) multiply<W, kFeatures, kInputRows>(job, w, feature, row);
  for (; row < job.rows; ++row) multiply<W, kFeatures, 1>(job, w, feature, row);
}

template <class W>
void multiply_all(const MatmulJob& job, const W* weights, std::size_t stride, std::size_t begin, std::size_t end) {
  std::size_t feature = begin;
  const W* w[kWeightRows];
  for (; feature + kWeightRows <= end; feature += kWeightRows, weights += kWeightRows * stride) {
    for (int f = 0; f < kWeightRows; ++f) w[f] = weights + static_cast<std::size_t>(f) * stride;
    multiply_rows<W, kWeightRows>(job, w, feature);
  }
  for (; feature < end; ++feature, weights += stride) multiply_rows<W, 1>(job, &weights, feature);
}

template <class W>
void matmul_in_place(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch&) {
  multiply_all(job, reinterpret_cast<const W*>(job.blocks) + begin * job.in_features, job.in_features, begin, end);
}

// Half-width weights of many rows are widened once per kWeightRows features.
template <class W>
void matmul_widened(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  if (job.rows < 2 * kInputRows) return matmul_in_place<W>(job, begin, end, scratch);
  const std::size_t stride = job.x_stride;
  float* floats = scratch.get<float>(kWeightRows * stride);
  for (std::size_t feature = begin; feature < end; feature += kWeightRows) {
    const std::size_t last = std::min(end, feature + kWeightRows);
    for (std::size_t f = feature; f < last; ++f) {
      const W* w = reinterpret_cast<const W*>(job.blocks) + f * job.in_features;
      float* out = floats + (f - feature) * stride;
      std::size_t i = 0;
      for (; i + kLanes <= job.in_features; i += kLanes) hn::Store(load_weights(w + i), DF(), out + i);
      if (i < job.in_features) hn::Store(load_weights_tail(w + i, job.in_features - i), DF(), out + i);
    }
    multiply_all(job, floats, stride, feature, last);
  }
}

void matmul_decoded(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const std::size_t stride = job.x_stride;
  float* floats = scratch.get<float>(kWeightRows * stride);
  for (std::size_t feature = begin; feature < end; feature += kWeightRows) {
    const std::size_t last = std::min(end, feature + kWeightRows);
    for (std::size_t f = feature; f < last; ++f) {
      job.weight->decode_row(f, std::span(floats + (f - feature) * stride, job.in_features));
    }
    multiply_all(job, floats, stride, feature, last);
  }
}

MatmulKernel f32_kernel() { return {matmul_in_place<float>, {}}; }
MatmulKernel f16_kernel() { return {matmul_widened<hwy::float16_t>, {}}; }
MatmulKernel bf16_kernel() { return {matmul_widened<hwy::bfloat16_t>, {}}; }
MatmulKernel decoded_kernel() { return {matmul_decoded, {}}; }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(f32_kernel);
HWY_EXPORT(f16_kernel);
HWY_EXPORT(bf16_kernel);
HWY_EXPORT(decoded_kernel);
MatmulKernel f32_matmul(const KernelSet& kernels) { return HWY_DISPATCH_TABLE(f32_kernel)[kernels.target_index](); }
MatmulKernel f16_matmul(const KernelSet& kernels) { return HWY_DISPATCH_TABLE(f16_kernel)[kernels.target_index](); }
MatmulKernel bf16_matmul(const KernelSet& kernels) { return HWY_DISPATCH_TABLE(bf16_kernel)[kernels.target_index](); }
MatmulKernel decoded_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(decoded_kernel)[kernels.target_index]();
}
}  // namespace lathe::kernels::cpu
#endif
