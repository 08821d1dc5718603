#include "tensor/codecs/iq1.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/iq_grids.h"

namespace lathe {
namespace {

constexpr float kShift = 0.125f;

void put_group(const GridPoint8& point, float scale, float shift, float* out) {
  for (int i = 0; i < 8; ++i) out[i] = scale * (static_cast<float>(point[i]) + shift);
}

void decode_s(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ1_S>(blocks, b);
    const float d = float_from_half(block.d);
    for (int group = 0; group < 32; ++group, out += 8) {
      const unsigned word = block.qh[group / 4];
      const float scale = d * static_cast<float>(2 * (word >> 12 & 7) + 1);
      const unsigned high = word >> (group % 4 * 3) & 7;
      put_group(kIq1Grid[block.qs[group] | high << 8], scale, word & 0x8000 ? -kShift : kShift, out);
    }
  }
}

void decode_m(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ1_M>(blocks, b);
    std::uint16_t words[4];
    std::memcpy(words, block.scales, sizeof(words));
    unsigned half = 0;
    for (int i = 0; i < 4; ++i) half |= static_cast<unsigned>(words[i] >> 12) << 4 * i;
    const float d = float_from_half(static_cast<std::uint16_t>(half));
    for (int group = 0; group < 32; ++group, out += 8) {
      const unsigned nibble = block.qh[group / 2] >> (group % 2 * 4) & 15;
      const unsigned s = words[group / 8] >> (group % 8 / 2 * 3) & 7;
      put_group(kIq1Grid[block.qs[group] | (nibble & 7) << 8], d * static_cast<float>(2 * s + 1),
                nibble & 8 ? -kShift : kShift, out);
    }
  }
}

}  // namespace

const BlockFormat kIQ1_S = {"IQ1_S", "ternary codebook of 2048 points per 8 weights", 256, 50, 19, decode_s, nullptr};
const BlockFormat kIQ1_M = {
    "IQ1_M", "ternary codebook of 2048 points per 8 weights, a scale per 16", 256, 56, 29, decode_m, nullptr};

}  // namespace lathe
