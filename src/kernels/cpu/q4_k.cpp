// Q4_K weights: 8 groups of 32 nibbles, each with a 6-bit scale and a 6-bit minimum; 32 bytes hold a group in their low
// nibbles and the next in their high ones.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q4_k.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/k_scales-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q4_k_function(bool) { return nullptr; }
#else

struct Q4_K {
  static constexpr std::size_t kColumns = 256, kBytes = 144, kGroup = 32;
  static constexpr int kLargest = 15, kZeroShift = -1;
  static constexpr bool kMinima = true;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF* minima) {
    load_k_scales(rows, offset, scales, minima);
    for (std::size_t pair = 0; pair < 4; ++pair, words += 16) {
      VI packed[8];
      load_rows16(rows, offset + 16 + pair * 32, packed);
      load_rows16(rows, offset + 32 + pair * 32, packed + 4);
      for (int i = 0; i < 8; ++i) {
        words[i] = bits_of<0>(packed[i], 0x0f0f0f0f);
        words[i + 8] = bits_of<4>(packed[i], 0x0f0f0f0f);
      }
    }
  }
};

MatmulFunction q4_k_function(bool vnni) { return tile_function<Q4_K>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q4_k_function);
MatmulFunction q4_k_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q4_k_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
