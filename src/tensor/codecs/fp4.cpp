#include "tensor/codecs/fp4.h"

#include <bit>
#include <cmath>

#include "base/half.h"
#include "tensor/codecs/block_codec.h"

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

const BlockFormat kMXFP4 = {"MXFP4", "4-bit floats, a power-of-two scale per 32", 32, 17, 39, decode_mxfp4, nullptr};
const BlockFormat kNVFP4 = {"NVFP4", "4-bit floats, an 8-bit float scale per 16", 64, 36, 40, decode_nvfp4, nullptr};

}  // namespace lathe
