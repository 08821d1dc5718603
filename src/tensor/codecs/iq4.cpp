#include "tensor/codecs/iq4.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"

namespace lathe {
namespace {

void put_32(const std::uint8_t* nibbles, float scale, float* out) {
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * kIq4Levels[nibbles[j] & 15];
    out[j + 16] = scale * kIq4Levels[nibbles[j] >> 4];
  }
}

void decode_nl(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockIQ4_NL>(blocks, b);
    put_32(block.qs, float_from_half(block.d), out);
  }
}

void decode_xs(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ4_XS>(blocks, b);
    const float d = float_from_half(block.d);
    for (int part = 0; part < 8; ++part, out += 32) {
      const int s = (block.scales_l[part / 2] >> (part % 2 * 4) & 15) | (block.scales_h >> 2 * part & 3) << 4;
      put_32(block.qs + 16 * part, d * static_cast<float>(s - 32), out);
    }
  }
}

}  // namespace

const BlockFormat kIQ4_NL = {"IQ4_NL", "4-bit uneven levels, a half scale per 32", 32, 18, 20, decode_nl, nullptr};
const BlockFormat kIQ4_XS = {"IQ4_XS", "4-bit uneven levels, a 6-bit scale per 32", 256, 136, 23, decode_xs, nullptr};

}  // namespace lathe
