// Q5_K weights: Q4_K with a fifth bit; 32 bytes hold the fifth bits, bit g of byte j for column j of group g.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q5_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/k_scales-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q5_k_function(bool) { return nullptr; }
#else

struct Q5_K {
  static constexpr std::size_t kColumns = 256, kBytes = 176, kGroup = 32;
  static constexpr int kLargest = 31, kZeroShift = -1;
  static constexpr bool kMinima = true;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF* minima) {
    load_k_scales(rows, offset, scales, minima);
    VI fifth[8];
    load_rows16(rows, offset + 16, fifth);
    load_rows16(rows, offset + 32, fifth + 4);
    unrolled<4>([&](auto p) HWY_ATTR {
      constexpr int kPair = decltype(p)::value;
      VI packed[8];
      load_rows16(rows, offset + 48 + kPair * 32, packed);
      load_rows16(rows, offset + 64 + kPair * 32, packed + 4);
      for (int i = 0; i < 8; ++i) {
        const VI low = hn::ShiftLeft<4>(bits_of<2 * kPair>(fifth[i], 0x01010101));
        const VI high = hn::ShiftLeft<4>(bits_of<2 * kPair + 1>(fifth[i], 0x01010101));
        words[kPair * 16 + i] = hn::Or(bits_of<0>(packed[i], 0x0f0f0f0f), low);
        words[kPair * 16 + i + 8] = hn::Or(bits_of<4>(packed[i], 0x0f0f0f0f), high);
      }
    });
  }
};

MatmulFunction q5_k_function(bool vnni) { return tile_function<Q5_K>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q5_k_function);
MatmulFunction q5_k_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q5_k_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
