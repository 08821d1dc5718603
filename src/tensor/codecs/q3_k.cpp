#include "tensor/codecs/q3_k.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/k_scales.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {
namespace {

void decode(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockQ3_K>(blocks, b);
    const float d = float_from_half(block.d);
    std::int8_t scales[16];
    unpack_signed_scales(block.scales, scales);
    for (int group = 0; group < 16; ++group, out += 16) {
      const float scale = d * static_cast<float>(scales[group]);
      const std::uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
      const std::uint8_t* high = block.hmask + group % 2 * 16;
      const int shift = group % 8 / 2 * 2;
      for (int i = 0; i < 16; ++i) {
        const int q = (qs[i] >> shift & 3) | (high[i] >> group / 2 & 1) << 2;
        out[i] = scale * static_cast<float>(q - 4);
      }
    }
  }
}

void encode(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const SymmetricSuperBlock<16> fit(values + 256 * b, importance == nullptr ? nullptr : importance + 256 * b,
                                      Levels{-4.0f, 3.0f}, {-32.0f, 31.0f}, {-0.9f, 0.12f});
    BlockQ3_K block{};
    block.d = fit.d;
    pack_signed_scales(fit.scales, block.scales);
    for (int i = 0; i < 256; ++i) {
      const int q = fit.q[i] + 4;
      block.qs[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>((q & 3) << i % 128 / 32 * 2);
      block.hmask[i % 32] |= static_cast<std::uint8_t>(q >> 2 << i / 32);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ3_K = {"Q3_K", "3-bit integers, 6-bit scales per 16", 256, 110, 11, decode, encode};

}  // namespace lathe
