#include "tensor/codecs/fp4.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/rounding.h"

namespace lathe {
namespace {

// Half of the block's scale, which goes with the doubled elements.
float half_scale(std::uint8_t e) {
  // 2^(e - 128); below 2^-126 a subnormal float.
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1u) << 23);
}

float half_scale_e4m3(std::uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (code == 0x7f) return 0.0f;
  return exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -10)
                       : std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

void decode_mxfp4(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockMXFP4>(blocks, b);
    const float d = half_scale(block.e);
    for (int j = 0; j < 16; ++j) {
      out[j] = kE2M1Doubled[block.qs[j] & 15] * d;
      out[j + 16] = kE2M1Doubled[block.qs[j] >> 4] * d;
    }
  }
}

// The code whose value is nearest to a magnitude in units of the doubled elements; ties go to the even code, as IEEE
// rounding does. NaN counts as zero.
unsigned nearest_magnitude(float doubled) {
  constexpr float kMidpoints[] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};
  unsigned code = 0;
  for (unsigned k = 0; k < 7; ++k) code += k % 2 == 0 ? doubled > kMidpoints[k] : doubled >= kMidpoints[k];
  return code;
}

float round_mxfp4(const float* x, const float* importance, std::uint8_t e, std::uint8_t* codes) {
  const float d = half_scale(e), inverse = safe_reciprocal(d);
  float error = 0.0f;
  for (int i = 0; i < 32; ++i) {
    const unsigned magnitude = nearest_magnitude(std::abs(x[i]) * inverse);
    codes[i] = static_cast<std::uint8_t>(magnitude | (std::signbit(x[i]) ? 8u : 0u));
    const float difference = std::abs(x[i]) - d * kE2M1Doubled[magnitude];
    error += (importance == nullptr ? 1.0f : importance[i]) * difference * difference;
  }
  return error;
}

// The specification's power of two puts the largest weight between 4 and 8, where 6 is the end; the next one up halves
// the resolution and cuts nothing off. The smaller error decides.
void encode_mxfp4(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 32; ++b, values += 32) {
    const float* weights = importance == nullptr ? nullptr : importance + 32 * b;
    const float largest = largest_magnitude<32>(values);
    const int exponent = largest > 0.0f ? std::ilogb(largest) - 2 : -127;
    const auto e = static_cast<std::uint8_t>(std::clamp(exponent + 127, 0, 253));
    BlockMXFP4 block;
    std::uint8_t fine[32], coarse[32];
    const bool use_fine = round_mxfp4(values, weights, e, fine) <= round_mxfp4(values, weights, e + 1, coarse);
    const std::uint8_t* codes = use_fine ? fine : coarse;
    block.e = use_fine ? e : e + 1;
    for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<std::uint8_t>(codes[j] | codes[j + 16] << 4);
    store_block(blocks, b, block);
  }
}

void decode_nvfp4(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 64; ++b) {
    const auto block = load_block<BlockNVFP4>(blocks, b);
    for (int part = 0; part < 4; ++part, out += 16) {
      const float d = half_scale_e4m3(block.d[part]);
      for (int j = 0; j < 8; ++j) {
        out[j] = kE2M1Doubled[block.qs[8 * part + j] & 15] * d;
        out[j + 8] = kE2M1Doubled[block.qs[8 * part + j] >> 4] * d;
      }
    }
  }
}

}  // namespace

const BlockFormat kMXFP4 = {"MXFP4",     "4-bit floats, a power-of-two scale per 32", 32, 17, 39, decode_mxfp4,
                            encode_mxfp4};
const BlockFormat kNVFP4 = {"NVFP4", "4-bit floats, an 8-bit float scale per 16", 64, 36, 40, decode_nvfp4, nullptr};

}  // namespace lathe
