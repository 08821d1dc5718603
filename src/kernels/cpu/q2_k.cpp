// Q2_K weights: 16 groups of 16 with a 4-bit scale and a 4-bit minimum each, 64 bytes of bit pairs (each half of the
// block has four runs of 32 in the same 32 bytes), then the half-precision scales of scales and minima.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q2_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q2_k_function(bool) { return nullptr; }
#else

struct Q2_K {
  static constexpr std::size_t kColumns = 256, kBytes = 84, kGroup = 16;
  static constexpr int kLargest = 3, kZeroShift = -1;
  static constexpr bool kMinima = true;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF* minima) {
    const DF d;
    VI packed_scales[4], tail[4];
    load_rows16(rows, offset, packed_scales);
    load_rows16(rows, offset + 68, tail);  // 12 bytes of columns, then the two halves
    const VF scale = float_from_half_bits(tail[3]), minimum = float_from_half_bits(hn::ShiftRight<16>(tail[3]));
    unrolled<4>([&](auto b) HWY_ATTR {
      constexpr int kByte = decltype(b)::value;
      for (int i = 0; i < 4; ++i) {
        const VI low = bits_of<0>(packed_scales[i], 0x0f0f0f0f), high = bits_of<4>(packed_scales[i], 0x0f0f0f0f);
        scales[i * 4 + kByte] = hn::Mul(scale, hn::ConvertTo(d, byte_of<kByte>(low)));
        minima[i * 4 + kByte] = hn::Mul(minimum, hn::ConvertTo(d, byte_of<kByte>(high)));
      }
    });
    for (std::size_t half = 0; half < 2; ++half, words += 32) {
      VI packed[8];
      load_rows16(rows, offset + 16 + half * 32, packed);
      load_rows16(rows, offset + 32 + half * 32, packed + 4);
      unrolled<4>([&](auto r) HWY_ATTR {
        constexpr int kRun = decltype(r)::value;
        for (int i = 0; i < 8; ++i) words[kRun * 8 + i] = bits_of<2 * kRun>(packed[i], 0x03030303);
      });
    }
  }
};

MatmulFunction q2_k_function(bool vnni) { return tile_function<Q2_K>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q2_k_function);
MatmulFunction q2_k_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q2_k_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
