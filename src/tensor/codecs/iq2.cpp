#include "tensor/codecs/iq2.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/iq_grids.h"

namespace lathe {
namespace {

float scale_of(float d, unsigned nibble) { return d * (0.5f + static_cast<float>(nibble)) * 0.25f; }

void put_group(const GridPoint8& point, unsigned signs, float scale, float* out) {
  for (int i = 0; i < 8; ++i) {
    const int sign = 1 - 2 * static_cast<int>(signs >> i & 1u);
    out[i] = scale * static_cast<float>(point[i] * sign);
  }
}

void decode_xxs(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ2_XXS>(blocks, b);
    const float d = float_from_half(block.d);
    for (int part = 0; part < 8; ++part) {
      const std::uint8_t* indices = block.qs + 8 * part;
      std::uint32_t word;
      std::memcpy(&word, indices + 4, sizeof(word));
      for (int group = 0; group < 4; ++group, out += 8) {
        put_group(kIq2XxsGrid[indices[group]], even_signs(word >> 7 * group & 127), scale_of(d, word >> 28), out);
      }
    }
  }
}

void decode_xs(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ2_XS>(blocks, b);
    const float d = float_from_half(block.d);
    for (int group = 0; group < 32; ++group, out += 8) {
      const unsigned nibble = block.scales[group / 4] >> (group % 4 / 2 * 4) & 15;
      const unsigned code = block.qs[group];
      put_group(kIq2XsGrid[code & 511], even_signs(code >> 9), scale_of(d, nibble), out);
    }
  }
}

void decode_s(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ2_S>(blocks, b);
    const float d = float_from_half(block.d);
    for (int group = 0; group < 32; ++group, out += 8) {
      const unsigned nibble = block.scales[group / 4] >> (group % 4 / 2 * 4) & 15;
      const unsigned high = block.qh[group / 4] >> (group % 4 * 2) & 3;
      put_group(kIq2SGrid[block.qs[group] | high << 8], block.signs[group], scale_of(d, nibble), out);
    }
  }
}

}  // namespace

const BlockFormat kIQ2_XXS = {"IQ2_XXS", "2-bit codebook of 256 points per 8 weights", 256, 66, 16, decode_xxs,
                              nullptr};
const BlockFormat kIQ2_XS = {"IQ2_XS", "2-bit codebook of 512 points per 8 weights", 256, 74, 17, decode_xs, nullptr};
const BlockFormat kIQ2_S = {"IQ2_S", "2-bit codebook of 1024 points per 8 weights", 256, 82, 22, decode_s, nullptr};

}  // namespace lathe
