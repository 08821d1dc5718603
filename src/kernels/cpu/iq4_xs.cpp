// IQ4_XS weights: 8 groups of 32 nibbles that index a table, each group with a 6-bit scale (4 bits and 2 bits apart).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/iq4_xs.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/nonlinear4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction iq4_xs_function(bool) { return nullptr; }
#else

struct IQ4_XS {
  static constexpr std::size_t kColumns = 256, kBytes = 136, kGroup = 32;
  static constexpr int kLargest = 128, kZeroShift = -1;
  static constexpr bool kMinima = false;

  static HWY_INLINE void unpack(const TileRows& rows, std::size_t offset, VI* words, VF* scales, VF*) {
    const DF d;
    VI head[4];
    load_rows16(rows, offset, head);  // the half and 8 upper pairs, 8 lower nibbles, columns
    const VF scale = float_from_half_bits(head[0]);
    unrolled<8>([&](auto g) HWY_ATTR {
      constexpr int kGroupIndex = decltype(g)::value;
      const VI low = bits_of<4 * kGroupIndex>(head[1], 15), high = bits_of<16 + 2 * kGroupIndex>(head[0], 3);
      const VI number = hn::Sub(hn::Or(low, hn::ShiftLeft<4>(high)), hn::Set(DI(), 32));
      scales[kGroupIndex] = hn::Mul(scale, hn::ConvertTo(d, number));
    });
    for (std::size_t group = 0; group < 8; ++group) {
      VI packed[4];
      load_rows16(rows, offset + 8 + group * 16, packed);
      nonlinear_words(packed, words + group * 8);
    }
  }
};

MatmulFunction iq4_xs_function(bool vnni) { return tile_function<IQ4_XS>(vnni); }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(iq4_xs_function);
MatmulFunction iq4_xs_matmul(const KernelSet& kernels) {
  return HWY_DISPATCH_TABLE(iq4_xs_function)[kernels.target_index](kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
