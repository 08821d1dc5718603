// Integer groups by table look-up: T-MAC (Wei et al. 2025, "T-MAC: CPU Renaissance via Table Lookup for Low-Bit LLM
// Deployment on Edge", section 3). A weight of b bits is b planes of signs t_p in {-1, 1}: level = sum of 2^(p - 1) t_p
// + (2^b - 1) / 2. The sums of 4 activations with all 16 combinations of signs are tabulated once (lut_input.h), so 4
// bits of a plane are an index, one byte shuffle looks up 16 rows per 16-byte block, and the rest is additions: nothing
// is multiplied until 64 columns are summed, and the cost is linear in the number of planes.
//
// A tile has one row per byte of a vector. Byte r of a plane's vector i of a block holds columns 8 i .. 8 i + 7 of row
// r. Looked-up bytes are added as 16-bit words: once as they are, and once moved down by 8, which isolates the odd
// rows; the even ones are the first sum less 256 times the second. Planes are doubled together on the way (from the
// highest down), four at most before the sums of 16 tables could overflow: 16 * 15 * 255 < 2^16.
//
// The fast way (the paper's fast aggregation) averages the 16 looked-up bytes pair by pair instead of adding them:
// bytes stay bytes until the planes are joined. An average rounds a half up, in half of all cases, so each of the 4
// levels adds a quarter, which is taken off again; what is left is noise of a unit or so of 16.
#include "kernels/cpu/int_group.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int_group_lut.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile_dots-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
IntKernel lut_kernel(int, bool, bool) { return {}; }
LutFunction lut_builder() { return nullptr; }
#else

using D8 = hn::ScalableTag<std::uint8_t>;
using D16 = hn::ScalableTag<std::uint16_t>;
using V8 = hn::Vec<D8>;
using V16 = hn::Vec<D16>;

constexpr std::size_t kTile = HWY_MAX_BYTES;          // rows
constexpr std::size_t kBlockVectors = kLutBlock / 8;  // of one plane of a block
constexpr std::size_t kBlockTables = kLutBlock / 4;
constexpr std::size_t kTileVectors = kTile / kLanes;  // of floats

// Sums of looked-up bytes, or averages of 16, doubled once per plane: of all 16-bit pairs of rows, and of the odd rows
// alone.
struct PairSums {
  V16 all, odd;
};

// What the tables say of one vector of a plane: of its lower four columns and of its upper ones.
struct Looked {
  V8 low, high;
};
HWY_INLINE Looked look_up_vector(const std::byte* plane, const std::uint8_t* tables) {
  const D8 d8;
  const D16 d16;
  const V8 bits = hn::Load(d8, reinterpret_cast<const std::uint8_t*>(plane)), nibble = hn::Set(d8, 0x0f);
  const V8 low = hn::And(bits, nibble);
  const V8 high = hn::And(hn::BitCast(d8, hn::ShiftRight<4>(hn::BitCast(d16, bits))), nibble);
  return {hn::TableLookupBytes(hn::LoadDup128(d8, tables), low),
          hn::TableLookupBytes(hn::LoadDup128(d8, tables + kLutTableBytes), high)};
}

// The next kPlanes planes of a block, the highest first; moves `planes` past them.
template <int kPlanes, bool kFast>
HWY_INLINE PairSums look_up(const std::byte*& planes, const std::uint8_t* tables) {
  const D16 d16;
  PairSums sums{hn::Zero(d16), hn::Zero(d16)};
  for (int p = 0; p < kPlanes; ++p) {
    if (p > 0) sums = {hn::Add(sums.all, sums.all), hn::Add(sums.odd, sums.odd)};
    V8 average[kBlockVectors];
    prefetch_weights<kTile * kBlockVectors>(planes);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < kBlockVectors; ++i, planes += kTile) {
      const Looked looked = look_up_vector(planes, tables + 2 * i * kLutTableBytes);
      if constexpr (kFast) {
        average[i] = hn::AverageRound(looked.low, looked.high);
      } else {
        const V16 a = hn::BitCast(d16, looked.low), b = hn::BitCast(d16, looked.high);
        sums.all = hn::Add(sums.all, hn::Add(a, b));
        sums.odd = hn::Add(sums.odd, hn::Add(hn::ShiftRight<8>(a), hn::ShiftRight<8>(b)));
      }
    }
    if constexpr (kFast) {
      for (std::size_t n = kBlockVectors / 2; n > 0; n /= 2) {
        for (std::size_t i = 0; i < n; ++i) average[i] = hn::AverageRound(average[2 * i], average[2 * i + 1]);
      }
      const V16 all = hn::BitCast(d16, average[0]);
      sums = {hn::Add(sums.all, all), hn::Add(sums.odd, hn::ShiftRight<8>(all))};
    }
  }
  return sums;
}

// The sums of every row of the tile in order, of the next kPlanes planes of a block, without the tables' offset.
template <int kPlanes, bool kFast>
HWY_INLINE void sums_of_rows(const std::byte*& planes, const std::uint8_t* tables, VI* out) {
  const D16 d16;
  const PairSums sums = look_up<kPlanes, kFast>(planes, tables);
  const V16 even = hn::Sub(sums.all, hn::ShiftLeft<8>(sums.odd));
  alignas(64) std::uint16_t rows[kTile];
  hn::StoreInterleaved2(even, sums.odd, d16, rows);
  const hn::Rebind<std::uint16_t, DI> half;
  // Of 16 added up, or averaged with a quarter too much from each of 4 levels.
  constexpr std::int32_t kOffset = kFast ? kLutZero + 1 : kLutZero * static_cast<std::int32_t>(kBlockTables);
  for (std::size_t v = 0; v < kTileVectors; ++v) {
    const VI sum = hn::PromoteTo(DI(), hn::Load(half, rows + v * kLanes));
    out[v] = hn::Sub(sum, hn::Set(DI(), kOffset * ((1 << kPlanes) - 1)));
    if constexpr (kFast) out[v] = hn::ShiftLeft<4>(out[v]);
  }
}

HWY_INLINE VF lut_halves(const std::uint16_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  return hn::PromoteTo(DF(), hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p)));
}

template <int kBits, bool kZeros, bool kFast>
void lut_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch&) {
  const DF d;
  const auto& weight = static_cast<const IntWeight&>(*job.laid_out);
  const std::size_t blocks = (weight.chunks + 1) / 2, group_blocks = (weight.group_chunks + 1) / 2;
  constexpr std::size_t kBlockBytes = kTile * kBits * kBlockVectors;
  for (std::size_t feature = begin; feature < end; feature += kTile) {
    const std::size_t tile = feature / kTile, grids = tile * weight.groups * kTile;
    for (std::size_t row = 0; row < job.rows; ++row) {
      const std::byte* planes = weight.planes.get() + tile * blocks * kBlockBytes;
      const std::uint8_t* tables = job.lut.tables + row * blocks * kBlockTables * kLutTableBytes;
      const LutMeta* meta = job.lut.meta + row * blocks;
      VF acc[kTileVectors];
      for (auto& a : acc) a = hn::Zero(d);
      for (std::size_t group = 0, block = 0; group < weight.groups; ++group) {
        const std::size_t grid = grids + group * kTile, last = std::min(blocks, block + group_blocks);
        VF scale[kTileVectors], middle[kTileVectors];  // (2^b - 1) / 2 - zero point
        for (std::size_t v = 0; v < kTileVectors; ++v) {
          scale[v] = lut_halves(weight.scales.data() + grid + v * kLanes);
          constexpr float kMiddle = ((1 << kBits) - 1) * 0.5f;
          if constexpr (kZeros) {
            const hn::Rebind<std::uint8_t, DI> bytes;
            const VI zero = hn::PromoteTo(DI(), hn::LoadU(bytes, weight.zeros.data() + grid + v * kLanes));
            middle[v] = hn::Sub(hn::Set(d, kMiddle), hn::ConvertTo(d, zero));
          } else {
            middle[v] = hn::Set(d, kMiddle - weight.zero);
          }
        }
        for (; block < last; ++block, tables += kBlockTables * kLutTableBytes) {
          VI sums[kTileVectors];
          if constexpr (kBits <= 4) {
            sums_of_rows<kBits, kFast>(planes, tables, sums);
          } else {
            VI low[kTileVectors];
            sums_of_rows<kBits - 4, kFast>(planes, tables, sums);
            sums_of_rows<4, kFast>(planes, tables, low);
            for (std::size_t v = 0; v < kTileVectors; ++v) sums[v] = hn::Add(hn::ShiftLeft<4>(sums[v]), low[v]);
          }
          // Signs count half: sum of 2^(p - 1) t_p.
          const VF unit = hn::Set(d, 0.5f * meta[block].scale), sum = hn::Set(d, meta[block].sum);
          for (std::size_t v = 0; v < kTileVectors; ++v) {
            const VF dot = hn::MulAdd(hn::ConvertTo(d, sums[v]), unit, hn::Mul(middle[v], sum));
            acc[v] = hn::MulAdd(dot, scale[v], acc[v]);
          }
        }
      }
      for (std::size_t v = 0; v < kTileVectors && feature + v * kLanes < end; ++v) {
        store_outputs(job, row, feature + v * kLanes, std::min(kLanes, end - feature - v * kLanes), acc[v]);
      }
    }
  }
}

// Byte i of a block's plane is the codec's own byte: 8 columns, the first in the lowest bit.
void lay_out_planes(const PackedTensor& tensor, IntWeight& weight) {
  const std::size_t rows = tensor.shape.rows(), bits = static_cast<std::size_t>(weight.bits);
  const std::size_t plane = (tensor.shape.cols() + 7) / 8, blocks = (weight.chunks + 1) / 2;
  weight.plane_bytes = (rows + kTile - 1) / kTile * blocks * kBlockVectors * bits * kTile;
  weight.planes = aligned_zeros(weight.plane_bytes);
  const std::byte* source = tensor.part("planes").data();
  for (std::size_t row = 0; row < rows; ++row) {
    std::byte* tile = weight.planes.get() + row / kTile * blocks * kBlockVectors * bits * kTile + row % kTile;
    for (std::size_t p = 0; p < bits; ++p, source += plane) {
      for (std::size_t i = 0; i < plane; ++i) {
        const std::size_t vector = (i / kBlockVectors * bits + (bits - 1 - p)) * kBlockVectors + i % kBlockVectors;
        tile[vector * kTile] = source[i];
      }
    }
  }
}

// Sign of activation j in entry p.
struct Signs {
  alignas(64) float of[4][kLutTableBytes];
};
constexpr Signs kSigns = [] {
  Signs signs{};
  for (std::size_t j = 0; j < 4; ++j) {
    for (std::size_t p = 0; p < kLutTableBytes; ++p) signs.of[j][p] = p >> j & 1 ? 1.0f : -1.0f;
  }
  return signs;
}();

// Tables of one row; x holds `blocks` whole blocks. Additions run in the order of the columns.
void build_tables(const float* x, std::size_t blocks, std::uint8_t* tables, LutMeta* meta) {
  for (std::size_t block = 0; block < blocks; ++block, x += kLutBlock) {
    float largest = 0, sum = 0;
    for (std::size_t i = 0; i < kLutBlock; i += 4) {
      const float magnitude = ((std::abs(x[i]) + std::abs(x[i + 1])) + std::abs(x[i + 2])) + std::abs(x[i + 3]);
      largest = magnitude > largest || magnitude != magnitude ? magnitude : largest;
      sum += ((x[i] + x[i + 1]) + x[i + 2]) + x[i + 3];
    }
    const Q8Scale scale = q8_scale(largest);
    meta[block] = {scale.scale, sum};
    const DF d;
    const hn::Rebind<std::uint8_t, DI> bytes;
    const VF inverse = hn::Set(d, scale.inverse);
    for (std::size_t table = 0; table < kBlockTables; ++table, tables += kLutTableBytes) {
      const float* v = x + 4 * table;
      for (std::size_t p = 0; p < kLutTableBytes; p += kLanes) {
        VF entry = hn::Mul(hn::Set(d, v[0]), hn::Load(d, kSigns.of[0] + p));
        for (std::size_t j = 1; j < 4; ++j) entry = hn::MulAdd(hn::Set(d, v[j]), hn::Load(d, kSigns.of[j] + p), entry);
        const VI rounded = scale.inverse == 0 ? hn::Zero(DI()) : hn::NearestInt(hn::Mul(entry, inverse));
        hn::StoreU(hn::DemoteTo(bytes, hn::Add(rounded, hn::Set(DI(), kLutZero))), bytes, tables + p);
      }
    }
  }
}

template <int kBits>
MatmulFunction lut_function(bool zeros, bool fast) {
  if (fast) return zeros ? lut_matmul<kBits, true, true> : lut_matmul<kBits, false, true>;
  return zeros ? lut_matmul<kBits, true, false> : lut_matmul<kBits, false, false>;
}

IntKernel lut_kernel(int bits, bool zeros, bool fast) {
  using Choose = MatmulFunction (*)(bool, bool);
  static constexpr Choose kWidths[] = {lut_function<1>, lut_function<2>, lut_function<3>, lut_function<4>,
                                       lut_function<5>, lut_function<6>, lut_function<7>, lut_function<8>};
  return {kTile, lay_out_planes, kWidths[bits - 1](zeros, fast)};
}

LutFunction lut_builder() { return build_tables; }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(lut_kernel);
HWY_EXPORT(lut_builder);
IntKernel int_group_lut(const KernelSet& kernels, int bits, bool zeros) {
  const bool fast = kernels.integers == IntegerKernel::kLutFast;
  return HWY_DISPATCH_TABLE(lut_kernel)[kernels.target_index](bits, zeros, fast);
}
LutFunction lut_function_of(std::size_t target_index) { return HWY_DISPATCH_TABLE(lut_builder)[target_index](); }
}  // namespace lathe::kernels::cpu
#endif
