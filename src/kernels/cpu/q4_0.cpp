// Q4_0 weights: a half-precision scale, then 16 bytes whose low nibbles are the first 16 columns and whose high nibbles
// the last; a nibble means (nibble - 8).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/q4_0.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction q4_0_function(bool) { return nullptr; }
#else

struct Q4_0 {
  static constexpr std::size_t kColumns = 32, kBytes = 18, kGroup = 32;
  static constexpr int kLargest = 15, kZeroShift = 3;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    scales[0] = load_rows_half(rows, offset);
    VI packed[4];
    load_rows16(rows, offset + 2, packed);
    const VI nibble = hn::Set(DI(), 0x0f0f0f0f);
    for (int i = 0; i < 4; ++i) {
      words[i] = hn::And(packed[i], nibble);
      words[i + 4] = hn::And(hn::ShiftRight<4>(packed[i]), nibble);
    }
  }
};

MatmulFunction q4_0_function(bool vnni) { return tile_function<Q4_0>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(q4_0_function);
MatmulFunction q4_0_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(q4_0_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
