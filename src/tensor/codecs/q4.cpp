#include "tensor/codecs/q4.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/rounding.h"

namespace lathe {
namespace {

void decode_q4_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockQ4_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int j = 0; j < 16; ++j) {
      out[j] = static_cast<float>((block.qs[j] & 15) - 8) * d;
      out[j + 16] = static_cast<float>((block.qs[j] >> 4) - 8) * d;
    }
  }
}

void decode_q4_1(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockQ4_1>(blocks, b);
    const float d = float_from_half(block.d), m = float_from_half(block.m);
    for (int j = 0; j < 16; ++j) {
      out[j] = static_cast<float>(block.qs[j] & 15) * d + m;
      out[j + 16] = static_cast<float>(block.qs[j] >> 4) * d + m;
    }
  }
}

// The weight of largest magnitude becomes -8, whatever its sign, so that the scale is as small as can be.
void encode_q4_0(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  for (std::uint64_t b = 0; b < count / 32; ++b, values += 32) {
    float largest = 0.0f;
    for (int i = 0; i < 32; ++i) largest = std::abs(values[i]) > std::abs(largest) ? values[i] : largest;
    const float d = largest / -8.0f;
    const float inverse = safe_reciprocal(d);
    BlockQ4_0 block;
    block.d = half_from_float(d);
    for (int j = 0; j < 16; ++j) {
      const int low = std::min(15, static_cast<int>(values[j] * inverse + 8.5f));
      const int high = std::min(15, static_cast<int>(values[j + 16] * inverse + 8.5f));
      block.qs[j] = static_cast<std::uint8_t>(low | high << 4);
    }
    store_block(blocks, b, block);
  }
}

// The smallest weight becomes 0 and the largest 15.
void encode_q4_1(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  for (std::uint64_t b = 0; b < count / 32; ++b, values += 32) {
    const auto [smallest, largest] = std::minmax_element(values, values + 32);
    const float m = *smallest, d = (*largest - m) / 15.0f;
    const float inverse = safe_reciprocal(d);
    BlockQ4_1 block;
    block.d = half_from_float(d);
    block.m = half_from_float(m);
    for (int j = 0; j < 16; ++j) {
      const int low = std::min(15, static_cast<int>((values[j] - m) * inverse + 0.5f));
      const int high = std::min(15, static_cast<int>((values[j + 16] - m) * inverse + 0.5f));
      block.qs[j] = static_cast<std::uint8_t>(low | high << 4);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ4_0 = {"Q4_0", "4-bit integers, a half scale per 32", 32, 18, 2, decode_q4_0, encode_q4_0};
const BlockFormat kQ4_1 = {"Q4_1",     "4-bit integers, a half scale and minimum per 32", 32, 20, 3, decode_q4_1,
                           encode_q4_1};

}  // namespace lathe
