#include "tensor/codecs/q8.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/rounding.h"

namespace lathe {
namespace {

template <class Block>
void decode_half_scaled(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<Block>(blocks, b);
    const float d = float_from_half(block.d);
    for (int i = 0; i < 32; ++i) out[i] = d * block.qs[i];
  }
}

void decode_q8_k(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b, out += 256) {
    const auto block = load_block<BlockQ8_K>(blocks, b);
    for (int i = 0; i < 256; ++i) out[i] = block.d * block.qs[i];
  }
}

// The largest magnitude becomes 127. Importance does not change anything: no candidate scale is better by more than the
// format's own resolution.
void encode_q8_0(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  for (std::uint64_t b = 0; b < count / 32; ++b, values += 32) {
    const float d = largest_magnitude<32>(values) / 127.0f;
    const float inverse = safe_reciprocal(d);
    BlockQ8_0 block;
    block.d = half_from_float(d);
    for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<std::int8_t>(round_away(values[i] * inverse));
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kQ8_0 = {"Q8_0", "8-bit integers, a half scale per 32", 32,         34,
                           8,      decode_half_scaled<BlockQ8_0>,         encode_q8_0};
const BlockFormat kQ8_1 = {
    "Q8_1", "8-bit integers, a half scale and a sum per 32", 32, 36, 9, decode_half_scaled<BlockQ8_1>, nullptr};
const BlockFormat kQ8_K = {"Q8_K", "8-bit integers, a float scale per 256", 256, 292, 15, decode_q8_k, nullptr};

}  // namespace lathe
