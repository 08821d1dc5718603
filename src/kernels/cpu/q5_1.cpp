// Q5_1 weights: a scale and a minimum in half precision, 32 fifth bits, then nibbles: scale * number + minimum.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q5_1.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/fifth_bit-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q5_1_function(bool) { return nullptr; }
#else

struct Q5_1 {
  static constexpr std::size_t kColumns = 32, kBytes = 24, kGroup = 32;
  static constexpr int kLargest = 31, kZeroShift = -1;
  static constexpr bool kMinima = true;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF* minima) {
    VI head[4], packed[4];
    load_rows16(rows, offset, head);  // scale and minimum, fifth bits, nibbles
    load_rows16(rows, offset + 8, packed);
    scales[0] = float_from_half_bits(head[0]);
    minima[0] = hn::Neg(float_from_half_bits(hn::ShiftRight<16>(head[0])));
    five_bit_words(head[1], packed, words);
  }
};

MatmulFunction q5_1_function(bool vnni) { return tile_function<Q5_1>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q5_1_function);
MatmulFunction q5_1_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q5_1_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
