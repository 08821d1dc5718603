#include "tensor/codecs/iq3.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/iq_grids.h"

namespace lathe {
namespace {

void put_group(const GridPoint4& point, unsigned signs, float scale, float* out) {
  for (int i = 0; i < 4; ++i) {
    const int sign = 1 - 2 * static_cast<int>(signs >> i & 1u);
    out[i] = scale * static_cast<float>(point[i] * sign);
  }
}

void decode_xxs(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ3_XXS>(blocks, b);
    const float d = float_from_half(block.d);
    for (int part = 0; part < 8; ++part) {
      std::uint32_t word;
      std::memcpy(&word, block.words + 4 * part, sizeof(word));
      const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
      for (int pair = 0; pair < 4; ++pair, out += 8) {
        const unsigned signs = even_signs(word >> 7 * pair & 127);
        put_group(kIq3XxsGrid[block.qs[8 * part + 2 * pair]], signs, scale, out);
        put_group(kIq3XxsGrid[block.qs[8 * part + 2 * pair + 1]], signs >> 4, scale, out + 4);
      }
    }
  }
}

void decode_s(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ3_S>(blocks, b);
    const float d = float_from_half(block.d);
    for (int group = 0; group < 64; ++group, out += 4) {
      const int part = group / 8;
      const unsigned nibble = block.scales[part / 2] >> (part % 2 * 4) & 15;
      const unsigned high = block.qh[part] >> (group % 8) & 1;
      const unsigned signs = block.signs[group / 2] >> (group % 2 * 4);
      put_group(kIq3SGrid[block.qs[group] | high << 8], signs, d * static_cast<float>(1 + 2 * nibble), out);
    }
  }
}

}  // namespace

const BlockFormat kIQ3_XXS = {"IQ3_XXS", "3-bit codebook of 256 points per 4 weights", 256, 98, 18, decode_xxs,
                              nullptr};
const BlockFormat kIQ3_S = {"IQ3_S", "3-bit codebook of 512 points per 4 weights", 256, 110, 21, decode_s, nullptr};

}  // namespace lathe
