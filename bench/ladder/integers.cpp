#include "ladder/integers.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/iq4.h"
#include "tensor/codecs/k_scales.h"
#include "tensor/codecs/q2_k.h"
#include "tensor/codecs/q3_k.h"
#include "tensor/codecs/q4.h"
#include "tensor/codecs/q4_k.h"
#include "tensor/codecs/q5_k.h"
#include "tensor/codecs/q6_k.h"
#include "tensor/codecs/q8.h"
#include "tensor/codecs/ternary.h"

namespace lathe::kernels::ladder {
namespace {

constexpr std::size_t kScaled = 32, kSummed = 16;  // activations that share a scale, and a sum

// The bits of `mask` above bit `shift` of each byte. One shift for all of them: compilers make vectors of that.
void field(const std::uint8_t* bytes, int shift, int mask, int count, std::int8_t* q) {
  for (int i = 0; i < count; ++i) q[i] = static_cast<std::int8_t>(bytes[i] >> shift & mask);
}

// Two bits of each of 256 weights in 64 bytes, as Q2_K, Q3_K and TQ2_0 keep them.
void crumbs(const std::uint8_t* bytes, std::int8_t* q) {
  for (int part = 0; part < 8; ++part) field(bytes + part / 4 * 32, part % 4 * 2, 3, 32, q + 32 * part);
}

// Four bits of each of 2 * `half` weights in `half` bytes: the first half of them in the low nibbles.
void nibbles(const std::uint8_t* bytes, int half, std::int8_t* q) {
  field(bytes, 0, 15, half, q);
  field(bytes, 4, 15, half, q + half);
}

// Further bits of `count` weights join q from bit `at` on: those of weight m + 32 n lie at bit `bits` * n of byte m.
void high_bits(const std::uint8_t* bytes, int bits, int at, int count, std::int8_t* q) {
  for (int i = 0; i < count; i += 32) {
    std::int8_t high[32];
    field(bytes, i / 32 * bits, (1 << bits) - 1, 32, high);
    for (int m = 0; m < 32; ++m) q[i + m] = static_cast<std::int8_t>(q[i + m] | high[m] << at);
  }
}

void shift_all(std::int8_t* q, int count, int by) {
  for (int i = 0; i < count; ++i) q[i] = static_cast<std::int8_t>(q[i] + by);
}

void unpack(const BlockQ8_0& block, std::int8_t* q, float* scales, float*) {
  scales[0] = float_from_half(block.d);
  std::copy_n(block.qs, 32, q);
}

void unpack(const BlockQ4_0& block, std::int8_t* q, float* scales, float*) {
  scales[0] = float_from_half(block.d);
  nibbles(block.qs, 16, q);
  shift_all(q, 32, -8);
}

void unpack(const BlockQ2_K& block, std::int8_t* q, float* scales, float* minima) {
  for (int g = 0; g < 16; ++g) {
    scales[g] = float_from_half(block.d) * static_cast<float>(block.scales[g] & 15);
    minima[g] = float_from_half(block.dmin) * static_cast<float>(block.scales[g] >> 4);
  }
  crumbs(block.qs, q);
}

void unpack(const BlockQ3_K& block, std::int8_t* q, float* scales, float*) {
  std::int8_t units[16];
  unpack_signed_scales(block.scales, units);
  for (int g = 0; g < 16; ++g) scales[g] = float_from_half(block.d) * static_cast<float>(units[g]);
  crumbs(block.qs, q);
  high_bits(block.hmask, 1, 2, 256, q);
  shift_all(q, 256, -4);
}

template <class Block>
void unpack_scales(const Block& block, float* scales, float* minima) {
  std::uint8_t scale_units[8], minimum_units[8];
  unpack_scales_and_minima(block.scales, scale_units, minimum_units);
  for (int g = 0; g < 8; ++g) {
    scales[g] = float_from_half(block.d) * static_cast<float>(scale_units[g]);
    minima[g] = float_from_half(block.dmin) * static_cast<float>(minimum_units[g]);
  }
}

void unpack(const BlockQ4_K& block, std::int8_t* q, float* scales, float* minima) {
  unpack_scales(block, scales, minima);
  for (int i = 0; i < 256; i += 64) nibbles(block.qs + i / 2, 32, q + i);
}

void unpack(const BlockQ5_K& block, std::int8_t* q, float* scales, float* minima) {
  unpack_scales(block, scales, minima);
  for (int i = 0; i < 256; i += 64) nibbles(block.qs + i / 2, 32, q + i);
  high_bits(block.qh, 1, 4, 256, q);
}

void unpack(const BlockQ6_K& block, std::int8_t* q, float* scales, float*) {
  for (int g = 0; g < 16; ++g) scales[g] = float_from_half(block.d) * static_cast<float>(block.scales[g]);
  for (int half = 0; half < 2; ++half) {
    nibbles(block.ql + 64 * half, 64, q + 128 * half);
    high_bits(block.qh + 32 * half, 2, 4, 128, q + 128 * half);
  }
  shift_all(q, 256, -32);
}

void unpack(const BlockIQ4_XS& block, std::int8_t* q, float* scales, float*) {
  for (int g = 0; g < 8; ++g) {
    const int unit = (block.scales_l[g / 2] >> g % 2 * 4 & 15) | (block.scales_h >> 2 * g & 3) << 4;
    scales[g] = float_from_half(block.d) * static_cast<float>(unit - 32);
  }
  for (int i = 0; i < 256; i += 32) nibbles(block.qs + i / 2, 16, q + i);
  for (int i = 0; i < 256; ++i) q[i] = kIq4Levels[static_cast<std::size_t>(q[i])];
}

void unpack(const BlockTQ2_0& block, std::int8_t* q, float* scales, float*) {
  std::fill_n(scales, 8, float_from_half(block.d));
  crumbs(block.qs, q);
  shift_all(q, 256, -1);
}

template <class Block>
IntegerFormat format_of(std::string_view codec, std::size_t block, std::size_t group) {
  return {codec, block, sizeof(Block), group, [](const std::byte* bytes, std::int8_t* q, float* scales, float* minima) {
            unpack(load_block<Block>(bytes, 0), q, scales, minima);
          }};
}

template <std::size_t kGroup>
float dot(const IntegerRow& weight, const std::int8_t* q, const float* scales, const std::int16_t* sums) {
  float total = 0;
  for (std::size_t g = 0; g < weight.q.size() / kGroup; ++g) {
    std::int32_t products = 0, sum = 0;
    for (std::size_t i = 0; i < kGroup; ++i) products += weight.q[g * kGroup + i] * q[g * kGroup + i];
    for (std::size_t i = 0; i < kGroup / kSummed; ++i) sum += sums[g * (kGroup / kSummed) + i];
    total += scales[g * kGroup / kScaled] *
             (weight.scales[g] * static_cast<float>(products) - weight.minima[g] * static_cast<float>(sum));
  }
  return total;
}

}  // namespace

const IntegerFormat* integer_format(std::string_view codec) {
  static const IntegerFormat kFormats[] = {
      format_of<BlockQ8_0>("Q8_0", 32, 32),    format_of<BlockQ4_0>("Q4_0", 32, 32),
      format_of<BlockQ2_K>("Q2_K", 256, 16),   format_of<BlockQ3_K>("Q3_K", 256, 16),
      format_of<BlockQ4_K>("Q4_K", 256, 32),   format_of<BlockQ5_K>("Q5_K", 256, 32),
      format_of<BlockQ6_K>("Q6_K", 256, 16),   format_of<BlockIQ4_XS>("IQ4_XS", 256, 32),
      format_of<BlockTQ2_0>("TQ2_0", 256, 32),
  };
  for (const IntegerFormat& format : kFormats) {
    if (format.codec == codec) return &format;
  }
  return nullptr;
}

IntegerRow integer_row(const IntegerFormat& format, std::size_t columns) {
  return {std::vector<std::int8_t>(columns), std::vector<float>(columns / format.group),
          std::vector<float>(columns / format.group)};
}

void IntegerFormat::unpack_row(const std::byte* bytes, IntegerRow& row) const {
  const std::size_t groups = block / group;
  for (std::size_t b = 0; b < row.q.size() / block; ++b)
    unpack(bytes + b * block_bytes, &row.q[b * block], &row.scales[b * groups], &row.minima[b * groups]);
}

EightBitInput eight_bit(std::span<const float> x, std::size_t columns) {
  EightBitInput input{columns, std::vector<std::int8_t>(x.size()), std::vector<float>(x.size() / kScaled),
                      std::vector<std::int16_t>(x.size() / kSummed)};
  for (std::size_t b = 0; b < input.scales.size(); ++b) {
    float largest = 0;
    for (std::size_t i = 0; i < kScaled; ++i) largest = std::max(largest, std::abs(x[kScaled * b + i]));
    input.scales[b] = largest / 127;
    const float inverse = largest > 0 ? 127 / largest : 0;
    for (std::size_t i = kScaled * b; i < kScaled * (b + 1); ++i) {
      input.q[i] = static_cast<std::int8_t>(std::lround(x[i] * inverse));
      input.sums[i / kSummed] = static_cast<std::int16_t>(input.sums[i / kSummed] + input.q[i]);
    }
  }
  return input;
}

float integer_dot(const IntegerFormat& format, const IntegerRow& weight, const EightBitInput& x, std::size_t row) {
  const std::int8_t* q = &x.q[row * x.columns];
  const float* scales = &x.scales[row * x.columns / kScaled];
  const std::int16_t* sums = &x.sums[row * x.columns / kSummed];
  return format.group == 16 ? dot<16>(weight, q, scales, sums) : dot<32>(weight, q, scales, sums);
}

}  // namespace lathe::kernels::ladder
