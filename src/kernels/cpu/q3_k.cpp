// Q3_K weights: third bits in 32 bytes, bit pairs as in Q2_K, 16 signed 6-bit scales in 12 bytes, and a half-precision
// scale of those; a number means (number - 4).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q3_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q3_k_function(bool) { return nullptr; }
#else

struct Q3_K {
  static constexpr std::size_t kColumns = 256, kBytes = 110, kGroup = 16;
  static constexpr int kLargest = 7, kZeroShift = 2;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    const DF d;
    VI tail[4];
    load_rows16(rows, offset + 94, tail);  // 2 bytes of columns, 12 of scales, the half
    const VF scale = float_from_half_bits(hn::ShiftRight<16>(tail[3]));
    VI packed[3];
    for (int i = 0; i < 3; ++i) packed[i] = hn::Or(bits_of<16>(tail[i], 0xffff), hn::ShiftLeft<16>(tail[i + 1]));
    // Low nibbles of scales 0..7, then of 8..15, in the first two words; the upper pairs of all 16 in the third.
    const VI number[4] = {
        hn::Or(bits_of<0>(packed[0], 0x0f0f0f0f), hn::ShiftLeft<4>(bits_of<0>(packed[2], 0x03030303))),
        hn::Or(bits_of<0>(packed[1], 0x0f0f0f0f), hn::ShiftLeft<4>(bits_of<2>(packed[2], 0x03030303))),
        hn::Or(bits_of<4>(packed[0], 0x0f0f0f0f), bits_of<0>(packed[2], 0x30303030)),
        hn::Or(bits_of<4>(packed[1], 0x0f0f0f0f), bits_of<2>(packed[2], 0x30303030)),
    };
    unrolled<4>([&](auto b) HWY_ATTR {
      constexpr int kByte = decltype(b)::value;
      for (int i = 0; i < 4; ++i) {
        const VI centred = hn::Sub(byte_of<kByte>(number[i]), hn::Set(DI(), 32));
        scales[i * 4 + kByte] = hn::Mul(scale, hn::ConvertTo(d, centred));
      }
    });
    VI third[8];
    load_rows16(rows, offset, third);
    load_rows16(rows, offset + 16, third + 4);
    unrolled<2>([&](auto h) HWY_ATTR {
      constexpr int kHalf = decltype(h)::value;
      VI pairs[8];
      load_rows16(rows, offset + 32 + kHalf * 32, pairs);
      load_rows16(rows, offset + 48 + kHalf * 32, pairs + 4);
      unrolled<4>([&](auto r) HWY_ATTR {
        constexpr int kRun = decltype(r)::value;
        for (int i = 0; i < 8; ++i) {
          const VI high = hn::ShiftLeft<2>(bits_of<kHalf * 4 + kRun>(third[i], 0x01010101));
          words[kHalf * 32 + kRun * 8 + i] = hn::Or(bits_of<2 * kRun>(pairs[i], 0x03030303), high);
        }
      });
    });
  }
};

MatmulFunction q3_k_function(bool vnni) { return tile_function<Q3_K>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q3_k_function);
MatmulFunction q3_k_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q3_k_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
