// Integer groups by table look-up: T-MAC (Wei et al. 2025, "T-MAC: CPU Renaissance via Table Lookup for Low-Bit LLM
// Deployment on Edge", section 3). A weight of b bits is b planes of signs t_p in {-1, 1}: level = sum of 2^(p - 1) t_p
// + (2^b - 1) / 2. The sums of 4 activations with all 16 combinations of signs are tabulated once (lut_input.h), so 4
// bits of a plane are an index, one byte shuffle looks up 16 rows per 16-byte block, and the rest is additions: nothing
// is multiplied until 64 columns are summed, and the cost is linear in the number of planes.
//
// A tile has as many rows as a vector has bytes. Planes go in pairs, an odd number's highest by itself first; of a
// pair, neighbouring bytes hold 8 columns of one row in the lower plane and in the upper, 16 bits for each row of half
// of the tile, and what is looked up for them is joined as lower + 2 * upper in one instruction. Of a single plane,
// they are rows of both halves: their bytes are added as 16-bit words, once as they are and once moved down by 8, which
// isolates the second half; the first is the one sum less 256 times the other. Four planes are summed at most before 16
// tables could overflow: 16 * 15 * 255 < 2^16, and less the tables' offset they are signed words.
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

// What a sum of 16 looked-up bytes has too much, and an average with a quarter too much from each of 4 levels.
template <bool kFast>
inline constexpr std::uint32_t kOffset = kFast ? kLutZero + 1 : kLutZero* kBlockTables;

// Sums of looked-up bytes, or averages of 16, of the rows of either half of a tile, as signed numbers in the end.
struct RowSums {
  V16 half[2];
};

// What the tables say of one vector: of its lower four columns and of its upper ones.
struct Looked {
  V8 low, high;
};
HWY_INLINE Looked look_up_vector(const std::byte* plane, V8 low_table, V8 high_table) {
  const D8 d8;
  const D16 d16;
  const V8 bits = hn::Load(d8, reinterpret_cast<const std::uint8_t*>(plane)), nibble = hn::Set(d8, 0x0f);
  const V8 low = hn::And(bits, nibble);
  const V8 high = hn::And(hn::BitCast(d8, hn::ShiftRight<4>(hn::BitCast(d16, bits))), nibble);
  return {hn::TableLookupBytes(low_table, low), hn::TableLookupBytes(high_table, high)};
}

// Lower + 2 * upper plane: the even bytes and twice the odd ones.
HWY_INLINE V16 join_planes(V8 looked) {
#if HWY_TARGET == HWY_AVX2
  return V16{_mm256_maddubs_epi16(looked.raw, _mm256_set1_epi16(0x0201))};
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return V16{_mm512_maddubs_epi16(looked.raw, _mm512_set1_epi16(0x0201))};
#else
  const D16 d16;
  const V16 pairs = hn::BitCast(d16, looked);
  return hn::Add(hn::And(pairs, hn::Set(d16, 0xff)), hn::And(hn::ShiftRight<7>(pairs), hn::Set(d16, 0x1fe)));
#endif
}

// sum + a + b, before anything that comes later: or GCC sorts all look-ups before all sums, and spills them.
HWY_INLINE V16 add_two(V16 sum, V16 a, V16 b) {
  sum = hn::Add(sum, hn::Add(a, b));
#if HWY_TARGET != HWY_NEON
  asm("" : "+v"(sum.raw));
#endif
  return sum;
}

// Averages of 8 vectors.
HWY_INLINE V8 average_of(V8* vectors) {
  for (std::size_t n = kBlockVectors / 2; n > 0; n /= 2) {
    for (std::size_t i = 0; i < n; ++i) vectors[i] = hn::AverageRound(vectors[2 * i], vectors[2 * i + 1]);
  }
  return vectors[0];
}

// The plane of a block that has no partner, without the offset.
template <bool kFast>
HWY_INLINE RowSums look_up_single(const std::byte* plane, const std::uint8_t* tables) {
  const D8 d8;
  const D16 d16;
  constexpr std::uint32_t kLess = 0u - kOffset<kFast>;
  V16 all = hn::Set(d16, static_cast<std::uint16_t>(257 * kLess)),
      second = hn::Set(d16, static_cast<std::uint16_t>(kLess));
  V8 averages[kBlockVectors];
  prefetch_weights<kTile * kBlockVectors>(plane);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kBlockVectors; ++i, plane += kTile, tables += 2 * kLutTableBytes) {
    const Looked looked =
        look_up_vector(plane, hn::LoadDup128(d8, tables), hn::LoadDup128(d8, tables + kLutTableBytes));
    if constexpr (kFast) {
      averages[i] = hn::AverageRound(looked.low, looked.high);
    } else {
      const V16 a = hn::BitCast(d16, looked.low), b = hn::BitCast(d16, looked.high);
      all = add_two(all, a, b);
      second = add_two(second, hn::ShiftRight<8>(a), hn::ShiftRight<8>(b));
    }
  }
  if constexpr (kFast) {
    const V16 average = hn::BitCast(d16, average_of(averages));
    all = hn::Add(all, average);
    second = hn::Add(second, hn::ShiftRight<8>(average));
  }
  return {hn::Sub(all, hn::ShiftLeft<8>(second)), second};
}

// sums + those of a pair of planes.
template <bool kFast>
HWY_INLINE RowSums look_up_pair(RowSums sums, const std::byte* planes, const std::uint8_t* tables) {
  const D8 d8;
  V8 averages[2][kBlockVectors];
  prefetch_weights<2 * kTile * kBlockVectors>(planes);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kBlockVectors; ++i, tables += 2 * kLutTableBytes) {
    const V8 low_table = hn::LoadDup128(d8, tables), high_table = hn::LoadDup128(d8, tables + kLutTableBytes);
    for (int half = 0; half < 2; ++half, planes += kTile) {
      const Looked looked = look_up_vector(planes, low_table, high_table);
      if constexpr (kFast) {
        averages[half][i] = hn::AverageRound(looked.low, looked.high);
      } else {
        sums.half[half] = add_two(sums.half[half], join_planes(looked.low), join_planes(looked.high));
      }
    }
  }
  if constexpr (kFast) {
    for (int half = 0; half < 2; ++half) {
      sums.half[half] = hn::Add(sums.half[half], join_planes(average_of(averages[half])));
    }
  }
  return sums;
}

// The sums of every row of the tile in order, of the next kPlanes planes of a block, without the tables' offset; moves
// `planes` past them.
template <int kPlanes, bool kFast>
HWY_INLINE void sums_of_rows(const std::byte*& planes, const std::uint8_t* tables, VI* out) {
  const D16 d16;
  RowSums sums{hn::Zero(d16), hn::Zero(d16)};
  if constexpr (kPlanes % 2 == 1) {
    sums = look_up_single<kFast>(planes, tables);
    planes += kTile * kBlockVectors;
  }
  const V16 pair_offset = hn::Set(d16, static_cast<std::uint16_t>(3 * kOffset<kFast>));
  for (int pair = 0; pair < kPlanes / 2; ++pair, planes += 2 * kTile * kBlockVectors) {
    for (V16& sum : sums.half) sum = hn::Sub(hn::ShiftLeft<2>(sum), pair_offset);
    sums = look_up_pair<kFast>(sums, planes, tables);
  }
  const hn::RebindToSigned<D16> signed16;
  alignas(64) std::int16_t rows[kTile];
  for (std::size_t half = 0; half < 2; ++half) {
    hn::Store(hn::BitCast(signed16, sums.half[half]), signed16, rows + half * (kTile / 2));
  }
  const hn::Rebind<std::int16_t, DI> words;
  for (std::size_t v = 0; v < kTileVectors; ++v) {
    out[v] = hn::PromoteTo(DI(), hn::Load(words, rows + v * kLanes));
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
    const std::size_t tile = feature / kTile;
    for (std::size_t row = 0; row < job.rows; ++row) {
      const std::byte* planes = weight.planes.get() + tile * blocks * kBlockBytes;
      const std::uint8_t* tables = job.lut.tables + row * blocks * kBlockTables * kLutTableBytes;
      const LutMeta* meta = job.lut.meta + row * blocks;
      VF acc[kTileVectors];
      for (auto& a : acc) a = hn::Zero(d);
      for (std::size_t group = 0, block = 0; group < weight.groups; ++group) {
        const std::size_t last = std::min(blocks, block + group_blocks);
        VF dots[kTileVectors];  // of signs
        for (VF& dot : dots) dot = hn::Zero(d);
        float sum = 0;
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
          const VF unit = hn::Set(d, 0.5f * meta[block].scale);
          for (std::size_t v = 0; v < kTileVectors; ++v) dots[v] = hn::MulAdd(hn::ConvertTo(d, sums[v]), unit, dots[v]);
          sum += meta[block].sum;
        }
        const VF all = hn::Set(d, sum);
        for (std::size_t v = 0; v < kTileVectors; ++v) {
          const std::size_t grid = (tile * weight.groups + group) * kTile + v * kLanes;
          constexpr float kMiddle =
              ((1 << kBits) - 1) * 0.5f;  // less the zero point: what a level has beside its signs
          VF middle = hn::Set(d, kMiddle - weight.zero);
          if constexpr (kZeros) {
            const hn::Rebind<std::uint8_t, DI> bytes;
            const VI zero = hn::PromoteTo(DI(), hn::LoadU(bytes, weight.zeros.data() + grid));
            middle = hn::Sub(hn::Set(d, kMiddle), hn::ConvertTo(d, zero));
          }
          acc[v] = hn::MulAdd(hn::MulAdd(middle, all, dots[v]), lut_halves(weight.scales.data() + grid), acc[v]);
        }
      }
      for (std::size_t v = 0; v < kTileVectors && feature + v * kLanes < end; ++v) {
        store_outputs(job, row, feature + v * kLanes, std::min(kLanes, end - feature - v * kLanes), acc[v]);
      }
    }
  }
}

// A byte is the codec's own: 8 columns, the first in the lowest bit.
void lay_out_planes(const PackedTensor& tensor, IntWeight& weight) {
  const std::size_t rows = tensor.shape.rows(), bits = static_cast<std::size_t>(weight.bits), single = bits % 2;
  const std::size_t plane = (tensor.shape.cols() + 7) / 8, blocks = (weight.chunks + 1) / 2;
  constexpr std::size_t kHalf = kTile / 2;
  weight.plane_bytes = (rows + kTile - 1) / kTile * blocks * kBlockVectors * bits * kTile;
  weight.planes = aligned_zeros(weight.plane_bytes);
  const std::byte* source = tensor.part("planes").data();
  for (std::size_t row = 0; row < rows; ++row) {
    std::byte* tile = weight.planes.get() + row / kTile * blocks * kBlockVectors * bits * kTile;
    const std::size_t half = row % kTile / kHalf, word = row % kHalf * 2;
    for (std::size_t p = 0; p < bits; ++p, source += plane) {
      const bool alone = single == 1 && p + 1 == bits;
      // Vectors and bytes from the block's first to the plane's; the pairs count from the highest.
      const std::size_t first = alone ? 0 : (single + (bits - single - 1 - p) / 2 * 2) * kBlockVectors;
      const std::size_t byte = word + (alone ? half : p % 2);
      for (std::size_t i = 0; i < plane; ++i) {
        const std::size_t in_block = i % kBlockVectors;
        const std::size_t vector = first + (alone ? in_block : 2 * in_block + half);
        tile[(i / kBlockVectors * bits * kBlockVectors + vector) * kTile + byte] = source[i];
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
