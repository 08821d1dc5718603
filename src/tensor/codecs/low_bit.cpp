#include "tensor/codecs/low_bit.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"

namespace lathe {
namespace {

void decode_q1_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 128; ++b, out += 128) {
    const auto block = load_block<BlockQ1_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int i = 0; i < 128; ++i) out[i] = block.qs[i / 8] >> i % 8 & 1 ? d : -d;
  }
}

void decode_q2_0(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 64; ++b, out += 64) {
    const auto block = load_block<BlockQ2_0>(blocks, b);
    const float d = float_from_half(block.d);
    for (int i = 0; i < 64; ++i) out[i] = static_cast<float>((block.qs[i / 4] >> i % 4 * 2 & 3) - 1) * d;
  }
}

}  // namespace

const BlockFormat kQ1_0 = {"Q1_0", "signs, a half magnitude per 128", 128, 18, 41, decode_q1_0, nullptr};
const BlockFormat kQ2_0 = {"Q2_0", "2-bit integers, a half scale per 64", 64, 18, 42, decode_q2_0, nullptr};

}  // namespace lathe
