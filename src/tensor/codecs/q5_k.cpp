#include "tensor/codecs/q5_k.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/k_scales.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {
namespace {

void decode(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockQ5_K>(blocks, b);
    const float d = float_from_half(block.d), dmin = float_from_half(block.dmin);
    std::uint8_t scales[8], minima[8];
    unpack_scales_and_minima(block.scales, scales, minima);
    for (int group = 0; group < 8; ++group, out += 32) {
      const float scale = d * static_cast<float>(scales[group]), minimum = dmin * static_cast<float>(minima[group]);
      const std::uint8_t* qs = block.qs + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        const int q = (qs[i] >> shift & 15) | (block.qh[i] >> group & 1) << 4;
        out[i] = scale * static_cast<float>(q) - minimum;
      }
    }
  }
}

void encode(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const AffineSuperBlock<32> fit(values + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 31.0f,
                                   63.0f, {-0.8f, 0.12f});
    BlockQ5_K block{};
    block.d = fit.d;
    block.dmin = fit.dmin;
    pack_scales_and_minima(fit.scales, fit.minima, block.scales);
    for (int i = 0; i < 256; ++i) {
      block.qs[i / 64 * 32 + i % 32] |= static_cast<std::uint8_t>((fit.q[i] & 15) << i / 32 % 2 * 4);
      block.qh[i % 32] |= static_cast<std::uint8_t>(fit.q[i] >> 4 << i / 32);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ5_K = {"Q5_K", "5-bit integers, 6-bit scales and minima per 32", 256, 176, 13, decode, encode};

}  // namespace lathe
