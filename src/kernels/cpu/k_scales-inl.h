// The 6-bit scales and minima of Q4_K and Q5_K, every row of a tile at once.
#include "kernels/cpu/tile-inl.h"

#if defined(LATHE_KERNELS_CPU_K_SCALES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_K_SCALES_INL_H_
#undef LATHE_KERNELS_CPU_K_SCALES_INL_H_
#else
#define LATHE_KERNELS_CPU_K_SCALES_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// A block's first 16 bytes are two halves (scale of the scales, scale of the minima) and three words: 6 bits of scales
// 0..3, of minima 0..3, and the low nibbles of both for 4..7, whose upper 2 bits are the top bits of the first words.
HWY_INLINE void load_k_scales(const TileRows& rows, std::size_t offset, VF* scales, VF* minima) {
  const DF d;
  VI head[4];
  load_rows16(rows, offset, head);
  const VF scale = float_from_half_bits(head[0]), minimum = float_from_half_bits(hn::ShiftRight<16>(head[0]));
  const VI scale_low = bits_of<0>(head[1], 0x3f3f3f3f), minimum_low = bits_of<0>(head[2], 0x3f3f3f3f);
  const VI scale_high = hn::Or(bits_of<0>(head[3], 0x0f0f0f0f), bits_of<2>(head[1], 0x30303030));
  const VI minimum_high = hn::Or(bits_of<4>(head[3], 0x0f0f0f0f), bits_of<2>(head[2], 0x30303030));
  unrolled<4>([&](auto i) HWY_ATTR {
    constexpr int kByte = decltype(i)::value;
    scales[kByte] = hn::Mul(scale, hn::ConvertTo(d, byte_of<kByte>(scale_low)));
    scales[kByte + 4] = hn::Mul(scale, hn::ConvertTo(d, byte_of<kByte>(scale_high)));
    minima[kByte] = hn::Mul(minimum, hn::ConvertTo(d, byte_of<kByte>(minimum_low)));
    minima[kByte + 4] = hn::Mul(minimum, hn::ConvertTo(d, byte_of<kByte>(minimum_high)));
  });
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
