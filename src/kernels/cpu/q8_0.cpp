// Q8_0 weights: 32 signed bytes behind a half-precision scale.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q8_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q8_0_function(bool) { return nullptr; }
#else

struct Q8_0 {
  static constexpr std::size_t kColumns = 32, kBytes = 34, kGroup = 32;
  static constexpr int kLargest = 128, kZeroShift = -1;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    scales[0] = load_rows_half(rows, offset);
    load_rows16(rows, offset + 2, words);
    load_rows16(rows, offset + 18, words + 4);
    for (int i = 0; i < 8; ++i) words[i] = encode_signed(words[i]);
  }
};

MatmulFunction q8_0_function(bool vnni) { return tile_function<Q8_0>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q8_0_function);
MatmulFunction q8_0_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q8_0_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
