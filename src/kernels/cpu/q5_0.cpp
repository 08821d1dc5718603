// Q5_0 weights: a half-precision scale, 32 fifth bits, then nibbles as in Q4_0; a number means (number - 16).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q5_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/fifth_bit-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q5_0_function(bool) { return nullptr; }
#else

struct Q5_0 {
  static constexpr std::size_t kColumns = 32, kBytes = 22, kGroup = 32;
  static constexpr int kLargest = 31, kZeroShift = 4;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    VI head[4], packed[4];
    load_rows16(rows, offset, head);  // scale (2 bytes), fifth bits (4), nibbles
    load_rows16(rows, offset + 6, packed);
    scales[0] = float_from_half_bits(head[0]);
    const VI high = hn::Or(bits_of<16>(head[0], 0xffff), hn::ShiftLeft<16>(head[1]));
    five_bit_words(high, packed, words);
  }
};

MatmulFunction q5_0_function(bool vnni) { return tile_function<Q5_0>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q5_0_function);
MatmulFunction q5_0_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q5_0_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
