// Products of quantized weights with 8-bit activations, for any codec that can say its weights as small integers with a
// scale (and a minimum) per group of columns. A tile is as many weight rows as a vector has lanes, one row per lane. Up
// to 256 columns of a tile are unpacked at a time into words of 4 columns per lane, and multiplied with every row of
// the input while they are in the first-level cache. One row takes the same path as many, and a pair (weight row, input
// row) sees the same operations in the same order whatever else is in the tile:
//   sum += float(integer dot of the group) * (weight scale * input scale) - weight minimum * (input scale * input sum)
//
// A codec is a type with
//   kColumns, kBytes    columns and bytes of a block
//   kGroup              columns per scale, 16 or 32
//   kLargest            largest unsigned weight, or 128 for signed ones (dot8-inl.h)
//   kZeroShift          weights mean (integer - 2^kZeroShift); -1: nothing to take out
//   kMinima             a minimum is subtracted per group
//   unpack(rows, offset, VI* words, VF* scales, VF* minima)   one block, offset bytes into each row
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/dot8-inl.h"
#include "kernels/cpu/matmul.h"

#if defined(LATHE_KERNELS_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_TILE_INL_H_
#undef LATHE_KERNELS_CPU_TILE_INL_H_
#else
#define LATHE_KERNELS_CPU_TILE_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// Where the rows of a tile begin. Lanes beyond the last row read the last row again.
struct TileRows {
  const std::uint8_t* row[kLanes];
};

// 16 bytes of each row, `offset` bytes into it, as four vectors of words: word i of every row in out[i].
HWY_INLINE void load_rows16(const TileRows& rows, std::size_t offset, VI* out) {
  const DI d;
  const hn::Full128<std::int32_t> d128;
  // 4 x 4 words at a time: after it, part[q] holds rows q, q + 4, ... of its lanes in the order of the lanes.
  VI part[4];
  for (std::size_t i = 0; i < 4; ++i) {
    const auto load = [&](std::size_t row) HWY_ATTR {
      return hn::LoadU(d128, reinterpret_cast<const std::int32_t*>(rows.row[row] + offset));
    };
#if HWY_MAX_BYTES == 64
    const hn::Full256<std::int32_t> d256;
    part[i] = hn::Combine(d, hn::Combine(d256, load(i + 12), load(i + 8)), hn::Combine(d256, load(i + 4), load(i)));
#elif HWY_MAX_BYTES == 32
    part[i] = hn::Combine(d, load(i + 4), load(i));
#else
    part[i] = load(i);
#endif
  }
  const hn::Repartition<std::int64_t, DI> d64;
  const auto wide = [&](VI v) HWY_ATTR { return hn::BitCast(d64, v); };
  const auto low01 = wide(hn::InterleaveLower(d, part[0], part[1])),
             low23 = wide(hn::InterleaveLower(d, part[2], part[3]));
  const auto high01 = wide(hn::InterleaveUpper(d, part[0], part[1])),
             high23 = wide(hn::InterleaveUpper(d, part[2], part[3]));
  out[0] = hn::BitCast(d, hn::InterleaveLower(d64, low01, low23));
  out[1] = hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23));
  out[2] = hn::BitCast(d, hn::InterleaveLower(d64, high01, high23));
  out[3] = hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23));
}

// A half-precision number in the low 16 bits of each lane, as float.
HWY_INLINE VF float_from_half_bits(VI bits) {
  const hn::Rebind<std::uint16_t, DI> d16;
  const hn::Rebind<hwy::float16_t, DI> dh;
  const auto words = hn::BitCast(hn::Repartition<std::uint32_t, DI>(), hn::And(bits, hn::Set(DI(), 0xffff)));
  return hn::PromoteTo(DF(), hn::BitCast(dh, hn::DemoteTo(d16, hn::BitCast(DI(), words))));
}

// The half-precision number `offset` bytes into each row.
HWY_INLINE VF load_rows_half(const TileRows& rows, std::size_t offset) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  alignas(32) std::uint16_t bits[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) std::memcpy(&bits[i], rows.row[i] + offset, sizeof bits[i]);
  return hn::PromoteTo(DF(), hn::Load(dh, reinterpret_cast<const hwy::float16_t*>(bits)));
}

// Byte kByte of each lane, and the same read as a signed number.
template <int kByte>
HWY_INLINE VI byte_of(VI words) {
  return hn::And(hn::ShiftRight<8 * kByte>(words), hn::Set(DI(), 0xff));
}
template <int kByte>
HWY_INLINE VI signed_byte_of(VI words) {
  return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kByte>(words));
}

// The same nibble, pair of bits, or bit of every byte: (words >> kShift) & mask.
template <int kShift>
HWY_INLINE VI bits_of(VI words, std::int32_t mask) {
  return hn::And(hn::ShiftRight<kShift>(words), hn::Set(DI(), mask));
}

// Calls body(std::integral_constant<int, 0>) .. kCount - 1: for loops whose shifts have to be constants.
template <int kCount, class Body>
HWY_INLINE void unrolled(const Body& body) {
  if constexpr (kCount > 0) {
    unrolled<kCount - 1>(body);
    body(std::integral_constant<int, kCount - 1>());
  }
}

inline constexpr std::size_t kCacheLine = 64;
inline constexpr std::size_t kStepColumns = 256;
inline constexpr std::size_t kStepWords = kStepColumns / 4;

// A step's share of a tile: up to kStepColumns columns, unpacked.
template <class Codec>
struct TileStep {
  alignas(64) VI words[kStepWords];
  VF scales[kStepColumns / Codec::kGroup];
  VF minima[Codec::kMinima ? kStepColumns / Codec::kGroup : 1];
};

// Adds a step's products with kRows rows of the input to sums[row * kLanes].
template <class Codec, bool kVnni, int kRows>
HWY_INLINE void multiply_step(const TileStep<Codec>& step, std::size_t columns, const std::int8_t* const* x,
                              const Q8Meta* const* meta, float* sums) {
  const DF d;
  const DI di;
  constexpr int kWords = static_cast<int>(Codec::kGroup) / 4;
  constexpr bool kSigned = Codec::kLargest == 128;
  constexpr int kShift = kSigned ? (kSignedBiased ? 7 : -1) : Codec::kZeroShift;
  VF acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = hn::Load(d, sums + static_cast<std::size_t>(r) * kLanes);
  for (std::size_t group = 0; group < columns / Codec::kGroup; ++group) {
    const VF scale = step.scales[group];
    for (int r = 0; r < kRows; ++r) {
      VI dot = dot_words<kVnni, Codec::kLargest, kWords>(step.words + group * kWords, x[r] + group * Codec::kGroup);
      const Q8Meta& m = Codec::kGroup == 32 ? meta[r][group] : meta[r][group / 2];
      const std::int32_t sum = Codec::kGroup == 32 ? m.sums[0] + m.sums[1] : m.sums[group % 2];
      if constexpr (kShift >= 0) dot = hn::Sub(dot, hn::Set(di, sum * (1 << (kShift < 0 ? 0 : kShift))));
      acc[r] = hn::MulAdd(hn::ConvertTo(d, dot), hn::Mul(scale, hn::Set(d, m.scale)), acc[r]);
      if constexpr (Codec::kMinima) {
        acc[r] = hn::NegMulAdd(step.minima[group], hn::Set(d, m.scale * static_cast<float>(sum)), acc[r]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) hn::Store(acc[r], d, sums + static_cast<std::size_t>(r) * kLanes);
}

// The first `valid` lanes of sums to out, with bias.
HWY_INLINE void store_outputs(const MatmulJob& job, std::size_t row, std::size_t feature, std::size_t valid, VF sum) {
  const DF d;
  const auto load = [&](const float* p) HWY_ATTR { return valid == kLanes ? hn::LoadU(d, p) : load_tail(d, p, valid); };
  float* out = job.out + row * job.out_stride + feature;
  if (job.bias) sum = hn::Add(sum, load(job.bias + feature));
  if (job.accumulate) sum = hn::Add(load(out), sum);
  if (valid == kLanes) {
    hn::StoreU(sum, d, out);
  } else {
    store_tail(d, sum, out, valid);
  }
}

// Asks for [from, to) to come into the second-level cache.
HWY_INLINE void prefetch(const std::uint8_t* from, const std::uint8_t* to) {
  for (; from < to; from += kCacheLine) __builtin_prefetch(from, 0, 2);
}

template <class Codec, bool kVnni>
void tile_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  static_assert(kStepColumns % Codec::kColumns == 0 && Codec::kColumns % Codec::kGroup == 0);
  constexpr std::size_t kRows = HWY_MAX_BYTES == 64 ? 4 : 2;
  const DF d;
  float* sums = scratch.get<float>(job.rows * kLanes);
  const std::size_t x_blocks = job.in_features / kQ8Block;
  TileStep<Codec> step;
  for (std::size_t feature = begin; feature < end; feature += kLanes) {
    const std::size_t valid = std::min(kLanes, end - feature);
    TileRows rows;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::size_t row = feature + std::min(i, valid - 1);
      rows.row[i] = reinterpret_cast<const std::uint8_t*>(job.blocks) + row * job.row_bytes;
    }
    // The next tile's bytes are consecutive, so a share of them is fetched with every step of this one: hardware does
    // not see ahead of that many short streams.
    const std::uint8_t* next = rows.row[0] + valid * job.row_bytes;
    const std::size_t next_rows = std::min(kLanes, end - feature - valid);
    std::fill(sums, sums + job.rows * kLanes, 0.0f);
    for (std::size_t column = 0; column < job.in_features; column += kStepColumns) {
      const std::size_t columns = std::min(kStepColumns, job.in_features - column);
      prefetch(next + column / Codec::kColumns * Codec::kBytes * next_rows,
               next + (column + columns) / Codec::kColumns * Codec::kBytes * next_rows);
      for (std::size_t i = 0; i < columns; i += Codec::kColumns) {
        Codec::unpack(rows, (column + i) / Codec::kColumns * Codec::kBytes, step.words + i / 4,
                      step.scales + i / Codec::kGroup, step.minima + (Codec::kMinima ? i / Codec::kGroup : 0));
      }
      const std::int8_t* x = job.q8.values + column;
      const Q8Meta* meta = job.q8.meta + column / kQ8Block;
      std::size_t r = 0;
      for (; r + kRows <= job.rows; r += kRows) {
        const std::int8_t* xs[kRows];
        const Q8Meta* metas[kRows];
        for (std::size_t i = 0; i < kRows; ++i) {
          xs[i] = x + (r + i) * job.in_features;
          metas[i] = meta + (r + i) * x_blocks;
        }
        multiply_step<Codec, kVnni, kRows>(step, columns, xs, metas, sums + r * kLanes);
      }
      for (; r < job.rows; ++r) {
        const std::int8_t* xs = x + r * job.in_features;
        const Q8Meta* metas = meta + r * x_blocks;
        multiply_step<Codec, kVnni, 1>(step, columns, &xs, &metas, sums + r * kLanes);
      }
    }
    for (std::size_t r = 0; r < job.rows; ++r) store_outputs(job, r, feature, valid, hn::Load(d, sums + r * kLanes));
  }
}

template <class Codec>
MatmulFunction tile_function(bool vnni) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (vnni) return tile_matmul<Codec, true>;
  }
  return tile_matmul<Codec, false>;
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
