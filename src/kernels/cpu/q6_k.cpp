// Q6_K weights: 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed 8-bit scales for groups of 16, and a
// half-precision scale of those; a number means (number - 32). Each half of the block interleaves four runs of 32.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q6_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q6_k_function(bool) { return nullptr; }
#else

struct Q6_K {
  static constexpr std::size_t kColumns = 256, kBytes = 210, kGroup = 16;
  static constexpr int kLargest = 63, kZeroShift = 5;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    const DF d;
    VI packed_scales[4];
    load_rows16(rows, offset + 192, packed_scales);
    const VF scale = load_rows_half(rows, offset + 208);
    unrolled<4>([&](auto b) HWY_ATTR {
      constexpr int kByte = decltype(b)::value;
      for (int i = 0; i < 4; ++i) {
        scales[i * 4 + kByte] = hn::Mul(scale, hn::ConvertTo(d, signed_byte_of<kByte>(packed_scales[i])));
      }
    });
    for (std::size_t half = 0; half < 2; ++half, words += 32) {
      VI low[16], high[8];
      for (std::size_t i = 0; i < 4; ++i) load_rows16(rows, offset + half * 64 + i * 16, low + 4 * i);
      for (std::size_t i = 0; i < 2; ++i) load_rows16(rows, offset + 128 + half * 32 + i * 16, high + 4 * i);
      for (int i = 0; i < 8; ++i) {
        words[i] = hn::Or(bits_of<0>(low[i], 0x0f0f0f0f), hn::ShiftLeft<4>(bits_of<0>(high[i], 0x03030303)));
        words[i + 8] = hn::Or(bits_of<0>(low[i + 8], 0x0f0f0f0f), hn::ShiftLeft<2>(bits_of<0>(high[i], 0x0c0c0c0c)));
        words[i + 16] = hn::Or(bits_of<4>(low[i], 0x0f0f0f0f), bits_of<0>(high[i], 0x30303030));
        words[i + 24] = hn::Or(bits_of<4>(low[i + 8], 0x0f0f0f0f), bits_of<2>(high[i], 0x30303030));
      }
    }
  }
};

MatmulFunction q6_k_function(bool vnni) { return tile_function<Q6_K>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q6_k_function);
MatmulFunction q6_k_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q6_k_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
