#include "tensor/codecs/low_bit.h"

#include <cmath>

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {
namespace {

void decode_q1_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 128; ++b, out += 128) {
    const auto block = load_block<BlockQ1_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int i = 0; i < 128; ++i) out[i] = d * static_cast<float>(2 * (block.qs[i / 8] >> i % 8 & 1) - 1);
  }
}

void decode_q2_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 64; ++b, out += 64) {
    const auto block = load_block<BlockQ2_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int i = 0; i < 64; ++i) out[i] = static_cast<float>((block.qs[i / 4] >> i % 4 * 2 & 3) - 1) * d;
  }
}

// The best magnitude for fixed signs is the weighted mean of the magnitudes.
void encode_q1_0(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 128; ++b, values += 128) {
    const ErrorWeights<128, 128> weights(importance == nullptr ? nullptr : importance + 128 * b);
    BlockQ1_0 block{};
    float sum = 0.0f, sum_weights = 0.0f;
    for (int i = 0; i < 128; ++i) {
      sum += weights.of[i] * std::abs(values[i]);
      sum_weights += weights.of[i];
      block.qs[i / 8] |= static_cast<std::uint8_t>((values[i] >= 0.0f ? 1 : 0) << i % 8);
    }
    block.d = half_from_float(sum / sum_weights);
    store_block(blocks, b, block);
  }
}

void encode_q2_0(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 64; ++b, values += 64) {
    const ErrorWeights<64, 64> weights(importance == nullptr ? nullptr : importance + 64 * b);
    const Levels levels = {-1.0f, 2.0f};
    BlockQ2_0 block{};
    block.d = half_from_float(fit_scale<64>(values, weights.of, levels, {-0.6f, 0.14f}));
    float q[64];
    round_group<64>(values, levels, {float_from_half(block.d), 0.0f}, q);
    for (int i = 0; i < 64; ++i)
      block.qs[i / 4] |= static_cast<std::uint8_t>((static_cast<int>(q[i]) + 1) << i % 4 * 2);
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ1_0 = {"Q1_0", "signs, a half magnitude per 128", 128, 18, 41, decode_q1_0, encode_q1_0};
const BlockFormat kQ2_0 = {"Q2_0", "2-bit integers, a half scale per 64", 64, 18, 42, decode_q2_0, encode_q2_0};

}  // namespace lathe
