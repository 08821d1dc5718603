// Activations to small integers (q8_input.h, plane_input.h). Bit for bit the same on every instruction set.
#include <algorithm>
#include <cstring>
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

// Magnitudes compare as integers the way they do as floats, and NaN and infinity come out on top.
HWY_INLINE float largest_of(VI magnitudes) { return hn::GetLane(hn::BitCast(DF(), hn::MaxOfLanes(DI(), magnitudes))); }

void q8(const float* x, std::size_t n, std::int8_t* values, Q8Meta* meta) {
  const DF d;
  const DI di;
  const hn::Rebind<std::int8_t, DI> d8;
  constexpr std::size_t kVectors = kQ8Block / kLanes;
  for (std::size_t block = 0; block < n / kQ8Block; ++block, x += kQ8Block, values += kQ8Block) {
    VI largest = hn::Zero(di);
    VF v[kVectors];
    for (std::size_t i = 0; i < kVectors; ++i) {
      v[i] = hn::LoadU(d, x + i * kLanes);
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(v[i])));
    }
    const Q8Scale scale = q8_scale(largest_of(largest));
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

HWY_INLINE float largest_magnitude_of(const float* x, std::size_t n) {
  VI largest = hn::Zero(DI());
  for (std::size_t i = 0; i < n; i += kLanes) {
    largest = hn::Max(largest, hn::BitCast(DI(), hn::Abs(hn::LoadU(DF(), x + i))));
  }
  return largest_of(largest);
}

float q8_row(const float* x, std::size_t n, std::int8_t* values, std::int32_t* sums) {
  const DF d;
  const DI di;
  const hn::Rebind<std::int8_t, DI> d8;
  const Q8Scale scale = q8_scale(largest_magnitude_of(x, n));
  const VF inverse = hn::Set(d, scale.inverse);
  sums[0] = 0;
  for (std::size_t i = 0; i < n; i += kQ8Block) {
    VI sum = hn::Zero(di);
    for (std::size_t j = i; j < i + kQ8Block; j += kLanes) {
      const VI q = scale.inverse == 0 ? hn::Zero(di) : hn::NearestInt(hn::Mul(hn::LoadU(d, x + j), inverse));
      sum = hn::Add(sum, q);
      hn::StoreU(hn::DemoteTo(d8, q), d8, values + j);
    }
    sums[i / kQ8Block + 1] = sums[i / kQ8Block] + hn::GetLane(hn::SumOfLanes(di, sum));
  }
  return scale.scale;
}

// Appends the lanes of `rest` that are not zero.
HWY_INLINE void add_outliers(VI rest, std::size_t column, Q8Outlier*& end) {
  alignas(64) std::int32_t lanes[kLanes];
  hn::Store(rest, DI(), lanes);
  for (std::size_t i = 0; i < kLanes; ++i) {
    if (lanes[i] != 0) *end++ = {static_cast<std::uint32_t>(column + i), lanes[i]};
  }
}

float q8_fixed(const float* x, std::size_t n, float scale, std::int8_t* values, std::int32_t* sums, Q8Outlier* outliers,
               std::uint32_t* beyond) {
  const DF d;
  const DI di;
  const hn::Rebind<std::int8_t, DI> d8;
  *beyond = 0;
  if (!(largest_magnitude_of(x, n) <= std::numeric_limits<float>::max())) {
    std::memset(values, 0, n);
    std::fill_n(sums, n / kQ8Block + 1, 0);
    return std::numeric_limits<float>::quiet_NaN();
  }
  const VF inverse = hn::Set(d, 1 / scale), most = hn::Set(d, static_cast<float>(kQ8MostSteps));
  const VI range = hn::Set(di, 127), zero = hn::Zero(di);
  sums[0] = 0;
  for (std::size_t i = 0; i < n; i += kQ8Block) {
    VI sum = zero;
    for (std::size_t j = i; j < i + kQ8Block; j += kLanes) {
      const VF steps = hn::Max(hn::Min(hn::Mul(hn::LoadU(d, x + j), inverse), most), hn::Neg(most));
      const VI whole = hn::NearestInt(steps), kept = hn::Max(hn::Min(whole, range), hn::Neg(range));
      const VI rest = hn::Sub(whole, kept);
      sum = hn::Add(sum, kept);
      hn::StoreU(hn::DemoteTo(d8, kept), d8, values + j);
      const auto inside = hn::Eq(rest, zero);
      if (HWY_LIKELY(hn::AllTrue(di, inside))) continue;
      *beyond += static_cast<std::uint32_t>(kLanes - hn::CountTrue(di, inside));
      if (outliers != nullptr) add_outliers(rest, j, outliers);
    }
    sums[i / kQ8Block + 1] = sums[i / kQ8Block] + hn::GetLane(hn::SumOfLanes(di, sum));
  }
  return scale;
}

// 32 levels of a row to one word per plane.
HWY_INLINE void write_plane_words(const std::uint8_t* levels, int bits, std::size_t chunks, std::uint32_t* words) {
  const hn::CappedTag<std::uint8_t, kPlaneChunk> d8;
  constexpr std::size_t kStep = hn::MaxLanes(d8);
  for (int i = 0; i < bits; ++i) {
    const auto bit = hn::Set(d8, static_cast<std::uint8_t>(1 << i));
    std::uint8_t bytes[kPlaneChunk / 8 + 8];
    for (std::size_t at = 0; at < kPlaneChunk; at += kStep) {
      hn::StoreMaskBits(d8, hn::TestBit(hn::LoadU(d8, levels + at), bit), bytes + at / 8);
    }
    std::memcpy(words + static_cast<std::size_t>(i) * chunks, bytes, sizeof *words);
  }
}

void planes(const float* x, std::size_t n, const PlaneFormat& format, std::uint32_t* words, std::int32_t* sums,
            PlaneMeta* meta) {
  const DF d;
  const DI di;
  const hn::Rebind<std::uint8_t, DI> d8;
  const std::size_t chunks = (n + kPlaneChunk - 1) / kPlaneChunk;
  VF low = hn::Zero(d), high = low;
  VI largest = hn::Zero(di);  // magnitudes as in q8()
  for (std::size_t i = 0; i < chunks * kPlaneChunk; i += kLanes) {
    const VF v = hn::LoadU(d, x + i);
    low = hn::Min(low, v), high = hn::Max(high, v);
    largest = hn::Max(largest, hn::BitCast(di, hn::Abs(v)));
  }
  const float magnitude = largest_of(largest);
  const bool finite = magnitude <= std::numeric_limits<float>::max();
  const PlaneScale scale = plane_scale(finite ? hn::GetLane(hn::MinOfLanes(d, low)) : -magnitude,
                                       finite ? hn::GetLane(hn::MaxOfLanes(d, high)) : magnitude, format);
  *meta = scale.meta;
  const VF inverse = hn::Set(d, scale.inverse);
  const VI offset = hn::Set(di, scale.offset), highest = hn::Set(di, (1 << format.bits) - 1), zero = hn::Zero(di);
  std::int32_t sum = 0;
  for (std::size_t chunk = 0; chunk < chunks; ++chunk, x += kPlaneChunk) {
    alignas(64) std::uint8_t levels[kPlaneChunk];
    VI total = zero;
    for (std::size_t i = 0; i < kPlaneChunk; i += kLanes) {
      VI u = zero;
      if (scale.inverse != 0) {
        const VF scaled = hn::Mul(hn::LoadU(d, x + i), inverse);
        u = hn::Add(format.bipolar ? hn::ConvertTo(di, hn::Floor(scaled)) : hn::NearestInt(scaled), offset);
        u = hn::Max(hn::Min(u, highest), zero);
        const std::size_t left = n - std::min(n, chunk * kPlaneChunk + i);
        if (left < kLanes) u = hn::IfThenElseZero(hn::FirstN(di, left), u);
      }
      total = hn::Add(total, u);
      hn::StoreU(hn::DemoteTo(d8, u), d8, levels + i);
    }
    sums[chunk] = sum;
    sum += hn::GetLane(hn::SumOfLanes(di, total));
    write_plane_words(levels, format.bits, chunks, words + chunk);
  }
  sums[chunks] = sum;
}

const QuantizeKernels* quantize_table() {
  static constexpr QuantizeKernels kTable{q8, q8_row, q8_fixed, planes};
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
