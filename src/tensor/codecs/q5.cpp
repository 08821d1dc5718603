#include "tensor/codecs/q5.h"

#include "base/half.h"
#include "tensor/codecs/block32.h"
#include "tensor/codecs/block_codec.h"

namespace lathe {
namespace {

template <class Block>
void unpack(const Block& block, int* q) {
  std::uint32_t high;
  std::memcpy(&high, block.qh, sizeof(high));
  for (int j = 0; j < 16; ++j) {
    q[j] = static_cast<int>((block.qs[j] & 15u) | (high >> j & 1u) << 4);
    q[j + 16] = static_cast<int>(block.qs[j] >> 4 | (high >> (j + 16) & 1u) << 4);
  }
}

template <class Block>
void pack_quants(const std::uint8_t* q, Block& block) {
  std::uint32_t high = 0;
  for (int i = 0; i < 32; ++i) high |= static_cast<std::uint32_t>(q[i] >> 4) << i;
  std::memcpy(block.qh, &high, sizeof(high));
  for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<std::uint8_t>((q[j] & 15) | (q[j + 16] & 15) << 4);
}

void decode_q5_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockQ5_0>(blocks, b);
    const float d = float_from_half(block.d);
    int q[32];
    unpack(block, q);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i] - 16) * d;
  }
}

void decode_q5_1(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockQ5_1>(blocks, b);
    const float d = float_from_half(block.d), m = float_from_half(block.m);
    int q[32];
    unpack(block, q);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * d + m;
  }
}

void encode_q5_0(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 32; ++b) {
    const SymmetricBlock32 fit(values + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 32);
    BlockQ5_0 block;
    block.d = fit.d;
    pack_quants(fit.q, block);
    store_block(blocks, b, block);
  }
}

void encode_q5_1(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 32; ++b) {
    const AffineBlock32 fit(values + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 32);
    BlockQ5_1 block;
    block.d = fit.d;
    block.m = fit.m;
    pack_quants(fit.q, block);
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ5_0 = {"Q5_0", "5-bit integers, a half scale per 32", 32, 22, 6, decode_q5_0, encode_q5_0};
const BlockFormat kQ5_1 = {"Q5_1",     "5-bit integers, a half scale and minimum per 32", 32, 24, 7, decode_q5_1,
                           encode_q5_1};

}  // namespace lathe
