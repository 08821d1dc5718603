#include "kernels/cpu/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/half.h"
#include "kernels/cpu/visible.h"

namespace lathe::kernels::cpu {
namespace {

void scale_and_shift(float* out, const float* x, double mean, double inverse, const float* weight, const float* bias,
                     std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    double value = (x[i] - mean) * inverse;
    if (weight) value *= weight[i];
    if (bias) value += bias[i];
    out[i] = static_cast<float>(value);
  }
}

void rms_norm(float* out, const float* x, const float* weight, const float* bias, std::size_t n, float eps) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  scale_and_shift(out, x, 0, 1 / std::sqrt(sum / static_cast<double>(n) + eps), weight, bias, n);
}

void layer_norm(float* out, const float* x, const float* weight, const float* bias, std::size_t n, float eps) {
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  scale_and_shift(out, x, mean, 1 / std::sqrt(squares / static_cast<double>(n) + eps), weight, bias, n);
}

void activate(ActivationKind kind, float* out, const float* x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = reference_activation(kind, x[i]);
}

void gated(ActivationKind kind, float* out, const float* gate, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = reference_activation(kind, gate[i]) * up[i];
}

void gated_clamped(float* out, const float* gate, const float* up, float limit, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const float g = gate[i] > limit ? limit : gate[i];
    const float u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
    out[i] = static_cast<float>((u + 1.0) * reference_activation(ActivationKind::kGeluQuick, g));
  }
}

void add(float* out, const float* a, const float* b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

void scale(float* x, float factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
}

void add_scaled(float* out, const float* x, float factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = std::fma(factor, x[i], out[i]);
}

void softcap(float* x, float cap, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(cap * std::tanh(static_cast<double>(x[i]) / cap));
}

std::size_t argmax(const float* x, std::size_t n) {
  std::size_t best = 0;
  float largest = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] > largest) largest = x[i], best = i;
  }
  return best;
}

void rotate(float* head, const float* cosines, const float* sines, std::size_t n_freq, RopeLayout layout) {
  for (std::size_t i = 0; i < n_freq; ++i) {
    float& a = layout == RopeLayout::kInterleaved ? head[2 * i] : head[i];
    float& b = layout == RopeLayout::kInterleaved ? head[2 * i + 1] : head[i + n_freq];
    const double x = a, y = b;
    a = static_cast<float>(x * cosines[i] - y * sines[i]);
    b = static_cast<float>(x * sines[i] + y * cosines[i]);
  }
}

// max(|x|), NaN when any is NaN
float largest_magnitude(const float* x, std::size_t n) {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!(std::abs(x[i]) <= largest)) largest = std::abs(x[i]);
    if (std::isnan(largest)) break;
  }
  return largest;
}

std::int8_t quantized(float x, const Q8Scale& scale) {
  return scale.inverse == 0 ? std::int8_t{0} : static_cast<std::int8_t>(std::nearbyint(x * scale.inverse));
}

void quantize_q8(const float* x, std::size_t n, std::int8_t* values, Q8Meta* meta) {
  for (std::size_t block = 0; block < n / kQ8Block; ++block, x += kQ8Block, values += kQ8Block) {
    const Q8Scale scale = q8_scale(largest_magnitude(x, kQ8Block));
    std::int32_t sums[2] = {0, 0};
    for (std::size_t i = 0; i < kQ8Block; ++i) {
      values[i] = quantized(x[i], scale);
      sums[i / 16] += values[i];
    }
    meta[block] = q8_meta(scale.scale, sums[0], sums[1]);
  }
}

float quantize_q8_row(const float* x, std::size_t n, std::int8_t* values, std::int32_t* sums) {
  const Q8Scale scale = q8_scale(largest_magnitude(x, n));
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (i % kQ8Block == 0) sums[i / kQ8Block] = sum;
    values[i] = quantized(x[i], scale);
    sum += values[i];
  }
  sums[n / kQ8Block] = sum;
  return scale.scale;
}

float quantize_q8_fixed(const float* x, std::size_t n, float scale, std::int8_t* values, std::int32_t* sums,
                        Q8Outlier* outliers, std::uint32_t* beyond) {
  const bool finite = largest_magnitude(x, n) <= std::numeric_limits<float>::max();
  constexpr auto kMost = static_cast<float>(kQ8MostSteps);
  std::int32_t sum = 0;
  *beyond = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (i % kQ8Block == 0) sums[i / kQ8Block] = sum;
    const float steps = finite ? std::nearbyint(std::clamp(x[i] * (1 / scale), -kMost, kMost)) : 0;
    const auto whole = static_cast<std::int32_t>(steps);
    values[i] = static_cast<std::int8_t>(std::clamp(whole, -127, 127));
    sum += values[i];
    if (whole == values[i]) continue;
    if (outliers != nullptr) outliers[*beyond] = {static_cast<std::uint32_t>(i), whole - values[i]};
    ++*beyond;
  }
  sums[n / kQ8Block] = sum;
  return finite ? scale : std::numeric_limits<float>::quiet_NaN();
}

// Element i of an array of the codec's type.
float load(KvCodec codec, const std::byte* data, std::uint64_t i, const float* scale) {
  switch (codec) {
    case KvCodec::kF32:
      return reinterpret_cast<const float*>(data)[i];
    case KvCodec::kF16:
      return float_from_half(reinterpret_cast<const std::uint16_t*>(data)[i]);
    case KvCodec::kI8:
      return static_cast<float>(reinterpret_cast<const std::int8_t*>(data)[i]) * *scale;
  }
  return 0;
}

void quantize_planes(const float* x, std::size_t n, const PlaneFormat& format, std::uint32_t* words, std::int32_t* sums,
                     PlaneMeta* meta) {
  const std::size_t chunks = (n + kPlaneChunk - 1) / kPlaneChunk;
  const float largest = largest_magnitude(x, n);
  float low = 0, high = 0;
  for (std::size_t i = 0; i < n; ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
  const bool finite = largest <= std::numeric_limits<float>::max();
  const PlaneScale scale = plane_scale(finite ? low : -largest, finite ? high : largest, format);
  *meta = scale.meta;
  std::fill_n(words, chunks * static_cast<std::size_t>(format.bits), 0);
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (i % kPlaneChunk == 0) sums[i / kPlaneChunk] = sum;
    if (scale.inverse == 0) continue;
    const float scaled = x[i] * scale.inverse;
    const auto level = static_cast<std::int32_t>(format.bipolar ? std::floor(scaled) : std::nearbyint(scaled));
    const std::int32_t u = std::clamp(level + scale.offset, 0, (1 << format.bits) - 1);
    sum += u;
    for (int p = 0; p < format.bits; ++p) {
      words[static_cast<std::size_t>(p) * chunks + i / kPlaneChunk] |= static_cast<std::uint32_t>(u >> p & 1)
                                                                       << i % kPlaneChunk;
    }
  }
  sums[chunks] = sum;
}

void store(KvCodec codec, std::byte* data, std::uint64_t stride, const float* x, std::uint64_t n, float* scale) {
  switch (codec) {
    case KvCodec::kF32:
      for (std::uint64_t i = 0; i < n; ++i) reinterpret_cast<float*>(data)[i * stride] = x[i];
      return;
    case KvCodec::kF16:
      for (std::uint64_t i = 0; i < n; ++i) reinterpret_cast<std::uint16_t*>(data)[i * stride] = half_from_float(x[i]);
      return;
    case KvCodec::kI8: {
      const Q8Scale q8 = q8_scale(largest_magnitude(x, n));
      *scale = q8.scale;
      for (std::uint64_t i = 0; i < n; ++i) reinterpret_cast<std::int8_t*>(data)[i * stride] = quantized(x[i], q8);
    }
  }
}

}  // namespace

const NormKernels kReferenceNorm{rms_norm, layer_norm};
const ElementwiseKernels kReferenceElementwise{activate, gated, gated_clamped, add, scale, add_scaled, softcap, argmax};
const RopeKernels kReferenceRope{rotate};
const QuantizeKernels kReferenceQuantize{quantize_q8, quantize_q8_row, quantize_q8_fixed, quantize_planes};

void reference_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  float* weights = scratch.get<float>(job.in_features);
  for (std::size_t o = begin; o < end; ++o) {
    job.weight->decode_row(o, std::span(weights, job.in_features));
    for (std::size_t r = 0; r < job.rows; ++r) {
      double sum = 0;
      for (std::size_t i = 0; i < job.in_features; ++i)
        sum += static_cast<double>(weights[i]) * job.x[r * job.x_stride + i];
      if (job.bias) sum += job.bias[o];
      float& out = job.out[r * job.out_stride + o];
      out = static_cast<float>(job.accumulate ? out + sum : sum);
    }
  }
}

float reference_activation(ActivationKind kind, float value) {
  const double x = value;
  switch (kind) {
    case ActivationKind::kSilu:
      return static_cast<float>(x / (1 + std::exp(-x)));
    case ActivationKind::kGelu:
      return static_cast<float>(0.5 * x * (1 + std::erf(x / std::sqrt(2.0))));
    case ActivationKind::kGeluTanh:
      return static_cast<float>(0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))));
    case ActivationKind::kGeluQuick:
      return static_cast<float>(x / (1 + std::exp(-1.702 * x)));
    case ActivationKind::kRelu:
      return value > 0 ? value : value != value ? value : 0;
    case ActivationKind::kRelu2:
      return value > 0 ? value * value : value != value ? value : 0;
  }
  return value;
}

void reference_store_key(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, const float* x) {
  const KvGeometry geometry(layout);
  store(layout.codec, geometry.keys(block, head) + slot * geometry.element_bytes, geometry.slots, x, layout.k_dim,
        layout.codec == KvCodec::kI8 ? geometry.key_scales(block, head) + slot : nullptr);
}

void reference_store_value(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head,
                           const float* x) {
  const KvGeometry geometry(layout);
  store(layout.codec, geometry.values(block, head) + slot * geometry.v_pad * geometry.element_bytes, 1, x, layout.v_dim,
        layout.codec == KvCodec::kI8 ? geometry.value_scales(block, head) + slot : nullptr);
}

float reference_key(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, std::uint64_t d) {
  const KvGeometry geometry(layout);
  const float* scale = layout.codec == KvCodec::kI8 ? geometry.key_scales(block, head) + slot : nullptr;
  return load(layout.codec, geometry.keys(block, head), d * geometry.slots + slot, scale);
}

float reference_value(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, std::uint64_t d) {
  const KvGeometry geometry(layout);
  const float* scale = layout.codec == KvCodec::kI8 ? geometry.value_scales(block, head) + slot : nullptr;
  return load(layout.codec, geometry.values(block, head), slot * geometry.v_pad + d, scale);
}

void reference_attention_head(const KvLayout& layout, const AttentionParams& params, const AttentionSequence& sequence,
                              std::uint64_t row, std::uint64_t head, const float* q, const float* far_q, float* out,
                              double* probability) {
  const std::uint64_t kv_head = head / (params.n_heads / layout.n_kv_heads);
  const std::int64_t position = sequence.first_position + static_cast<std::int64_t>(row);

  struct Seen {
    void* block;
    std::uint64_t slot, index;  // slot in its block; number among those that receive mass
    double score;
  };
  constexpr std::uint64_t kNoMass = std::numeric_limits<std::uint64_t>::max();
  std::vector<Seen> seen;
  std::uint64_t index = 0;
  double largest = -std::numeric_limits<double>::infinity();
  for (const KvRun& run : sequence.runs) {
    const VisiblePositions visible = visible_positions(params, sequence, run, row);
    const float* query = run.far ? far_q : q;
    for (std::uint64_t slot = run.begin; slot < run.end; ++slot) {
      const std::uint64_t number = run.far ? kNoMass : index++;
      const std::int64_t key_position = run.first_position + static_cast<std::int64_t>(slot - run.begin);
      if (key_position < visible.first || key_position > visible.last) continue;
      void* block = run.blocks[slot / layout.block_tokens];
      const std::uint64_t at = slot % layout.block_tokens;
      double score = 0;
      for (std::uint64_t d = 0; d < layout.k_dim; ++d) {
        score += static_cast<double>(query[d]) * reference_key(layout, block, at, kv_head, d);
      }
      score *= params.scale;
      if (params.softcap > 0) score = params.softcap * std::tanh(score / params.softcap);
      if (params.alibi_slopes) score += params.alibi_slopes[head] * static_cast<double>(key_position - position);
      if (params.relative_bias) {
        const std::int64_t span = params.relative_span;
        const std::int64_t distance = std::clamp(key_position - position, -span, span);
        score += params.relative_bias[static_cast<std::int64_t>(head) * (2 * span + 1) + span + distance];
      }
      largest = std::max(largest, score);
      seen.push_back({block, at, number, score});
    }
  }
  if (params.sinks) largest = std::max(largest, static_cast<double>(params.sinks[head]));
  double sum = params.sinks ? std::exp(params.sinks[head] - largest) : 0;
  for (Seen& key : seen) sum += key.score = std::exp(key.score - largest);
  for (std::uint64_t d = 0; d < layout.v_dim; ++d) {
    double value = 0;
    for (const Seen& key : seen) value += key.score * reference_value(layout, key.block, key.slot, kv_head, d);
    out[d] = seen.empty() ? 0 : static_cast<float>(value / sum);
  }
  if (probability) {
    for (const Seen& key : seen) {
      if (key.index != kNoMass) probability[key.index] += key.score / sum;
    }
  }
}

}  // namespace lathe::kernels::cpu
