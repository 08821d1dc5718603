// Q4_1 weights: a scale and a minimum in half precision, then nibbles as in Q4_0: scale * nibble + minimum.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q4_1.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q4_1_function(bool) { return nullptr; }
#else

struct Q4_1 {
  static constexpr std::size_t kColumns = 32, kBytes = 20, kGroup = 32;
  static constexpr int kLargest = 15, kZeroShift = -1;
  static constexpr bool kMinima = true;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF* minima) {
    scales[0] = load_rows_half(rows, offset);
    minima[0] = hn::Neg(load_rows_half(rows, offset + 2));
    VI packed[4];
    load_rows16(rows, offset + 4, packed);
    for (int i = 0; i < 4; ++i) {
      words[i] = bits_of<0>(packed[i], 0x0f0f0f0f);
      words[i + 4] = bits_of<4>(packed[i], 0x0f0f0f0f);
    }
  }
};

MatmulFunction q4_1_function(bool vnni) { return tile_function<Q4_1>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q4_1_function);
MatmulFunction q4_1_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q4_1_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
