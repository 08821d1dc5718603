// IQ4_XS weights: 8 groups of 32 nibbles that index a table, each group with a 6-bit scale (4 bits and 2 bits apart).
#include "kernels/cpu/codec_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/iq4_xs.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/nonlinear4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

struct IQ4_XS {
  static constexpr TileFormat kFormat{kLanes, 256, 136, 0, 0};
  static constexpr int kGroup = 32, kLargest = 128, kZeroShift = -1;
  static constexpr bool kSigned = true;
  static constexpr Minima kMinima = Minima::kNone;

  struct Head {
    VF scale;
    VI numbers[2];  // a signed byte for each group
  };
  static HWY_INLINE Head head(const TileBlock& block) {
    // The half and 8 upper pairs of bits, then 8 lower nibbles: even groups in the low nibbles of 4 bytes.
    const VI upper = block.word(0), lower = block.word(1);
    const VI even = bits_of<0>(lower, 0x0f0f0f0f), odd = bits_of<4>(lower, 0x0f0f0f0f);
    Head head{float_from_half_bits(upper), {}};
    // Bytes of groups 0..3 and 4..7, whose upper pairs are 4 consecutive pairs of bits each.
    const auto with_upper = [&](VI low, VI pairs) HWY_ATTR {
      const VI spread =
          hn::Or(hn::Or(hn::And(pairs, hn::Set(DI(), 0x03)), hn::ShiftLeft<6>(hn::And(pairs, hn::Set(DI(), 0x0c)))),
                 hn::Or(hn::ShiftLeft<12>(hn::And(pairs, hn::Set(DI(), 0x30))),
                        hn::ShiftLeft<18>(hn::And(pairs, hn::Set(DI(), 0xc0)))));
      const hn::Repartition<std::int8_t, DI> d8;
      const VI number = hn::Or(low, hn::ShiftLeft<4>(spread));
      return hn::BitCast(DI(), hn::Sub(hn::BitCast(d8, number), hn::Set(d8, 32)));
    };
    const VI first = pick_bytes<0, 4, 1, 4>(even), second = pick_bytes<4, 0, 4, 1>(odd);
    const VI third = pick_bytes<2, 4, 3, 4>(even), fourth = pick_bytes<4, 2, 4, 3>(odd);
    head.numbers[0] = with_upper(hn::Or(first, second), hn::ShiftRight<16>(upper));
    head.numbers[1] = with_upper(hn::Or(third, fourth), hn::ShiftRight<24>(upper));
    return head;
  }
  static HWY_INLINE VF scale(const Head& head) { return head.scale; }
  template <int kIndex, bool kWide>
  static HWY_INLINE VI group_scale(const Head& head) {
    return signed_scale_of<kIndex % 4, kWide>(head.numbers[kIndex / 4]);
  }
  template <int kRun>
  static HWY_INLINE void words(const TileBlock& block, const Head&, VI* out) {
    nonlinear_words(block, 2 + kRun * 4, kIq4Values, out);
  }
};

#endif
LATHE_TILE_KERNEL(iq4_xs, IQ4_XS)
}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
LATHE_TILE_DISPATCH(iq4_xs)
#endif
