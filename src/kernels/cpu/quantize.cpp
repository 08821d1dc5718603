// Activations to 8-bit blocks (q8_input.h). Bit for bit the same on every instruction set.
#include <limits>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
const QuantizeKernels* quantize_table() { return &kReferenceQuantize; }
#else

void q8(const float* x, std::size_t n, std::int8_t* values, Q8Meta* meta) {
  const DF d;
  const DI di;
  const hn::Rebind<std::int8_t, DI> d8;
  constexpr std::size_t kVectors = kQ8Block / kLanes;
  for (std::size_t block = 0; block < n / kQ8Block; ++block, x += kQ8Block, values += kQ8Block) {
    // Magnitudes compare as integers the way they do as floats, and NaN and infinity come out on top.
    VI largest = hn::Zero(di);
    VF v[kVectors];
    for (std::size_t i = 0; i < kVectors; ++i) {
      v[i] = hn::LoadU(d, x + i * kLanes);
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(v[i])));
    }
    const float magnitude = hn::GetLane(hn::BitCast(d, hn::MaxOfLanes(di, largest)));
    const Q8Scale scale = q8_scale(magnitude);
    const VF inverse = hn::Set(d, scale.inverse);
    VI sums[2] = {hn::Zero(di), hn::Zero(di)};
    for (std::size_t i = 0; i < kVectors; ++i) {
      const VI q = scale.inverse == 0 ? hn::Zero(di) : hn::NearestInt(hn::Mul(v[i], inverse));
      sums[i * kLanes / 16] = hn::Add(sums[i * kLanes / 16], q);
      hn::StoreU(hn::DemoteTo(d8, q), d8, values + i * kLanes);
    }
    meta[block] =
        q8_meta(scale.scale, hn::GetLane(hn::SumOfLanes(di, sums[0])), hn::GetLane(hn::SumOfLanes(di, sums[1])));
  }
}

const QuantizeKernels* quantize_table() {
  static constexpr QuantizeKernels kTable{q8};
  return &kTable;
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(quantize_table);
const QuantizeKernels* quantize_kernels(std::size_t target_index) {
  return HWY_DISPATCH_TABLE(quantize_table)[target_index]();
}
}  // namespace lathe::kernels::cpu
#endif
