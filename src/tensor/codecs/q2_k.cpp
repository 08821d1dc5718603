#include "tensor/codecs/q2_k.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"

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

}  // namespace

const BlockFormat kQ2_K = {"Q2_K", "2-bit integers, 4-bit scales and minima per 16", 256, 84, 10, decode, nullptr};

}  // namespace lathe
