// IQ4_NL weights: the layout of Q4_0, with nibbles that index a table of 16 values.
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/iq4_nl.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/nonlinear4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction iq4_nl_function(bool) { return nullptr; }
#else

struct IQ4_NL {
  static constexpr std::size_t kColumns = 32, kBytes = 18, kGroup = 32;
  static constexpr int kLargest = 128, kZeroShift = -1;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    scales[0] = load_rows_half(rows, offset);
    VI packed[4];
    load_rows16(rows, offset + 2, packed);
    nonlinear_words(packed, words);
  }
};

MatmulFunction iq4_nl_function(bool vnni) { return tile_function<IQ4_NL>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(iq4_nl_function);
MatmulFunction iq4_nl_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(iq4_nl_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
