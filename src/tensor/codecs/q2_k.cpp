#include "tensor/codecs/q2_k.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {
namespace {

void decode(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockQ2_K>(blocks, b);
    const float d = float_from_half(block.d), dmin = float_from_half(block.dmin);
    for (int group = 0; group < 16; ++group, out += 16) {
      const float scale = d * static_cast<float>(block.scales[group] & 15);
      const float minimum = dmin * static_cast<float>(block.scales[group] >> 4);
      const std::uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
      const int shift = group % 8 / 2 * 2;
      for (int i = 0; i < 16; ++i) out[i] = scale * static_cast<float>(qs[i] >> shift & 3) - minimum;
    }
  }
}

void encode(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const AffineSuperBlock<16> fit(values + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 3.0f,
                                   15.0f, {-0.9f, 0.2f, 3});
    BlockQ2_K block{};
    block.d = fit.d;
    block.dmin = fit.dmin;
    for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<std::uint8_t>(fit.scales[g] | fit.minima[g] << 4);
    for (int i = 0; i < 256; ++i) {
      block.qs[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>(fit.q[i] << i % 128 / 32 * 2);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ2_K = {"Q2_K", "2-bit integers, 4-bit scales and minima per 16", 256, 84, 10, decode, encode};

}  // namespace lathe
