#include "tensor/codecs/q6_k.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {
namespace {

void decode(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockQ6_K>(blocks, b);
    const float d = float_from_half(block.d);
    for (int group = 0; group < 16; ++group, out += 16) {
      const float scale = d * static_cast<float>(block.scales[group]);
      const int within = group % 8 * 16;  // first weight of the group within its half of 128
      const std::uint8_t* low = block.ql + group / 8 * 64 + within % 64;
      const std::uint8_t* high = block.qh + group / 8 * 32 + within % 32;
      const int low_shift = within / 64 * 4, high_shift = within / 32 * 2;
      for (int i = 0; i < 16; ++i) {
        const int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
        out[i] = scale * static_cast<float>(q - 32);
      }
    }
  }
}

void encode(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const SymmetricSuperBlock<16> fit(values + 256 * b, importance == nullptr ? nullptr : importance + 256 * b,
                                      Levels{-32.0f, 31.0f}, {-128.0f, 127.0f}, {-0.9f, 0.12f});
    BlockQ6_K block{};
    block.d = fit.d;
    std::memcpy(block.scales, fit.scales, sizeof(block.scales));
    for (int i = 0; i < 256; ++i) {
      const int q = fit.q[i] + 32;
      block.ql[i / 128 * 64 + i % 64] |= static_cast<std::uint8_t>((q & 15) << i % 128 / 64 * 4);
      block.qh[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>(q >> 4 << i % 128 / 32 * 2);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ6_K = {"Q6_K", "6-bit integers, 8-bit scales per 16", 256, 210, 14, decode, encode};

}  // namespace lathe
