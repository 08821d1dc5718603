#include "tensor/codecs/ternary.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/rounding.h"

namespace lathe {
namespace {

constexpr unsigned kPowersOf3[] = {1, 3, 9, 27, 81};

// Where TQ1_0 keeps its digits: `bytes` bytes of `digits` digits, digit n of byte m being weight first + m + bytes * n.
struct DigitRun {
  int first_byte, bytes, digits, first_weight;
};
constexpr DigitRun kRuns[] = {{0, 32, 5, 0}, {32, 16, 5, 160}, {48, 4, 4, 240}};

void decode_tq1(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b, out += 256) {
    const auto block = load_block<BlockTQ1_0>(blocks, b);
    std::uint8_t bytes[52];
    std::memcpy(bytes, block.qs, 48);
    std::memcpy(bytes + 48, block.qh, 4);
    const float d = float_from_half(block.d);
    for (const DigitRun& run : kRuns) {
      for (int n = 0; n < run.digits; ++n) {
        for (int m = 0; m < run.bytes; ++m) {
          const unsigned fraction = bytes[run.first_byte + m] * kPowersOf3[n] & 255u;
          out[run.first_weight + run.bytes * n + m] = static_cast<float>(static_cast<int>(fraction * 3 >> 8) - 1) * d;
        }
      }
    }
  }
}

void decode_tq2(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b, out += 256) {
    const auto block = load_block<BlockTQ2_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int half = 0; half < 2; ++half) {
      for (int n = 0; n < 4; ++n) {
        for (int m = 0; m < 32; ++m) {
          out[128 * half + 32 * n + m] = static_cast<float>((block.qs[32 * half + m] >> 2 * n & 3) - 1) * d;
        }
      }
    }
  }
}

// The largest magnitude is the scale: models trained to be ternary come through exactly, others are not meant to.
float ternary_digits(const float* values, std::uint8_t* digits) {
  float d = 0.0f;
  for (int i = 0; i < 256; ++i) d = std::max(d, std::abs(values[i]));
  const float inverse = safe_reciprocal(d);
  for (int i = 0; i < 256; ++i) digits[i] = static_cast<std::uint8_t>(round_away(values[i] * inverse) + 1);
  return d;
}

void encode_tq1(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  for (std::uint64_t b = 0; b < count / 256; ++b, values += 256) {
    std::uint8_t digits[256], bytes[52];
    BlockTQ1_0 block;
    block.d = half_from_float(ternary_digits(values, digits));
    for (const DigitRun& run : kRuns) {
      for (int m = 0; m < run.bytes; ++m) {
        unsigned number = 0;
        for (int n = 0; n < run.digits; ++n) number = number * 3 + digits[run.first_weight + run.bytes * n + m];
        if (run.digits == 4) number *= 3;
        bytes[run.first_byte + m] = static_cast<std::uint8_t>((number * 256 + 242) / 243);
      }
    }
    std::memcpy(block.qs, bytes, 48);
    std::memcpy(block.qh, bytes + 48, 4);
    store_block(blocks, b, block);
  }
}

void encode_tq2(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  for (std::uint64_t b = 0; b < count / 256; ++b, values += 256) {
    std::uint8_t digits[256];
    BlockTQ2_0 block{};
    block.d = half_from_float(ternary_digits(values, digits));
    for (int i = 0; i < 256; ++i) {
      block.qs[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>(digits[i] << i % 128 / 32 * 2);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kTQ1_0 = {"TQ1_0",   "ternary, five digits a byte, a half scale per 256", 256, 54, 34, decode_tq1,
                            encode_tq1};
const BlockFormat kTQ2_0 = {"TQ2_0",   "ternary, four digits a byte, a half scale per 256", 256, 66, 35, decode_tq2,
                            encode_tq2};

}  // namespace lathe
