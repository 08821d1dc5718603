#include "tensor/codecs/q4.h"

#include "base/half.h"
#include "tensor/codecs/block32.h"
#include "tensor/codecs/block_codec.h"

namespace lathe {
namespace {

void decode_q4_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockQ4_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int j = 0; j < 16; ++j) {
      out[j] = static_cast<float>((block.qs[j] & 15) - 8) * d;
      out[j + 16] = static_cast<float>((block.qs[j] >> 4) - 8) * d;
    }
  }
}

void decode_q4_1(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockQ4_1>(blocks, b);
    const float d = float_from_half(block.d), m = float_from_half(block.m);
    for (int j = 0; j < 16; ++j) {
      out[j] = static_cast<float>(block.qs[j] & 15) * d + m;
      out[j + 16] = static_cast<float>(block.qs[j] >> 4) * d + m;
    }
  }
}

std::uint8_t nibbles(const std::uint8_t* q, int j) { return static_cast<std::uint8_t>(q[j] | q[j + 16] << 4); }

void encode_q4_0(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 32; ++b) {
    const SymmetricBlock32 fit(values + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 16);
    BlockQ4_0 block;
    block.d = fit.d;
    for (int j = 0; j < 16; ++j) block.qs[j] = nibbles(fit.q, j);
    store_block(blocks, b, block);
  }
}

void encode_q4_1(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 32; ++b) {
    const AffineBlock32 fit(values + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 16);
    BlockQ4_1 block;
    block.d = fit.d;
    block.m = fit.m;
    for (int j = 0; j < 16; ++j) block.qs[j] = nibbles(fit.q, j);
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ4_0 = {"Q4_0", "4-bit integers, a half scale per 32", 32, 18, 2, decode_q4_0, encode_q4_0};
const BlockFormat kQ4_1 = {"Q4_1",     "4-bit integers, a half scale and minimum per 32", 32, 20, 3, decode_q4_1,
                           encode_q4_1};

}  // namespace lathe
