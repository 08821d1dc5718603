// Integer groups times activations of 1 to 8 bits, as products of single bits (ABQ-LLM, Zeng et al. 2024;
// Ma et al. 2025): with level = sum of 2^j w_j and u = sum of 2^i x_i,
//   sum of u * level = sum over i, j of 2^(i + j) * popcount(x_i and w_j),
// so that the time is that of bits of weights times bits of activations. Zero points are taken out of the integers,
// with sums of levels that are stored and sums of u: four times the product of what both numbers mean is
//   4 * sum(u * level) - 2 * 2z * sum(u) - 2 * 2s * sum(level) + columns * 2z * 2s
// for zero points z of the weights and s of the input, which are whole numbers or lie between two. That is exact;
// floats come in once per group (or 8192 columns of one, after which 32 bits might not hold it).
//
// One weight row per lane, and 32 columns of it per word. Sums of bits of up to 256 columns are kept per plane of the
// weights, as bytes where the processor counts no words, and only then weighted and added.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/int_group.h"
#include "tensor/codecs/int_group.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int_group_planes.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile_dots-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
IntKernel planes_kernel(int, bool) { return {}; }
#else

using DU = hn::Repartition<std::uint32_t, DI>;
using VU = hn::Vec<DU>;

// Whether there is an instruction for the bits of a word.
#if HWY_TARGET <= HWY_AVX3_DL && HWY_ARCH_X86
#define LATHE_COUNTS_WORDS 1
#else
#define LATHE_COUNTS_WORDS 0
#endif

// Set bits, of every word or of every byte.
HWY_INLINE VU count_bits(VU v) {
#if LATHE_COUNTS_WORDS
  return hn::PopulationCount(v);
#else
  const hn::Repartition<std::uint8_t, DU> d8;
  return hn::BitCast(DU(), hn::PopulationCount(hn::BitCast(d8, v)));
#endif
}
HWY_INLINE VU add_counts(VU a, VU b) {
#if LATHE_COUNTS_WORDS
  return hn::Add(a, b);
#else
  const hn::Repartition<std::uint8_t, DU> d8;
  return hn::BitCast(DU(), hn::Add(hn::BitCast(d8, a), hn::BitCast(d8, b)));
#endif
}
HWY_INLINE VU counts_of_words(VU counts) {
#if LATHE_COUNTS_WORDS
  return counts;
#else
  const VU bytes = hn::Set(DU(), 0x00ff00ffu);
  const VU pairs = hn::Add(hn::And(counts, bytes), hn::And(hn::ShiftRight<8>(counts), bytes));
  return hn::And(hn::Add(pairs, hn::ShiftRight<16>(pairs)), hn::Set(DU(), 0xffffu));
#endif
}

// The sum of u * level over `count` chunks, for every row of the tile.
template <int kBits>
HWY_INLINE VU bit_products(const std::uint32_t* planes, const PlaneInput& x, const std::uint32_t* words,
                           std::size_t stride, std::size_t count) {
  const DU d;
  VU total = hn::Zero(d);
  for (int i = x.bits - 1; i >= 0; --i) {
    const std::uint32_t* plane = words + static_cast<std::size_t>(i) * stride;
    VU counts[kBits];
    for (auto& c : counts) c = hn::Zero(d);
    for (std::size_t chunk = 0; chunk < count; ++chunk) {
      const VU bits = hn::Set(d, plane[chunk]);
      const std::uint32_t* w = planes + chunk * kBits * kLanes;
      unrolled<kBits>([&](auto j) LATHE_INLINE_LAMBDA {
        constexpr std::size_t kPlane = decltype(j)::value;
        counts[kPlane] = add_counts(counts[kPlane], count_bits(hn::And(hn::Load(d, w + kPlane * kLanes), bits)));
      });
    }
    VU sum = counts_of_words(counts[kBits - 1]);
    for (int j = kBits - 2; j >= 0; --j) sum = hn::Add(hn::Add(sum, sum), counts_of_words(counts[j]));
    total = hn::Add(hn::Add(total, total), sum);
  }
  return total;
}

HWY_INLINE VF plane_scales(const std::uint16_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  return hn::PromoteTo(DF(), hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p)));
}

template <int kBits, bool kZeros>
void planes_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch&) {
  const DF d;
  const DI di;
  const auto& weight = static_cast<const IntWeight&>(*job.laid_out);
  const std::size_t chunks = weight.chunks, tile_words = chunks * kBits * kLanes;
  const hn::Rebind<std::uint8_t, DI> bytes;
  const hn::Rebind<std::uint16_t, DI> halves;
  for (std::size_t feature = begin; feature < end; feature += kLanes) {
    const std::size_t tile = feature / kLanes;
    const auto* planes = reinterpret_cast<const std::uint32_t*>(weight.planes.get()) + tile * tile_words;
    for (std::size_t row = 0; row < job.rows; ++row) {
      const std::uint32_t* words = job.planes.words + row * chunks * static_cast<std::size_t>(job.planes.bits);
      const std::int32_t* sums = job.planes.sums + row * (chunks + 1);
      const PlaneMeta meta = job.planes.meta[row];
      const std::uint16_t* level_sums = weight.level_sums.data() + tile * weight.segments * kLanes;
      VF acc = hn::Zero(d);
      for (std::size_t group = 0, chunk = 0; group < weight.groups; ++group) {
        const std::size_t at = (tile * weight.groups + group) * kLanes;
        const std::size_t group_end = std::min(chunks, chunk + weight.group_chunks);
        const VF scale = hn::Mul(plane_scales(weight.scales.data() + at), hn::Set(d, 0.25f * meta.scale));
        VI twice_zero = hn::Set(di, static_cast<std::int32_t>(2 * weight.zero));
        if constexpr (kZeros) {
          const VI zero = hn::PromoteTo(di, hn::LoadU(bytes, weight.zeros.data() + at));
          twice_zero = hn::Add(zero, zero);
        }
        while (chunk < group_end) {
          const std::size_t first = chunk, last = std::min(group_end, chunk + kExactColumns / kPlaneChunk);
          VU products = hn::Zero(DU());
          VI levels = hn::Zero(di);
          for (; chunk < last; level_sums += kLanes) {
            const std::size_t count = std::min(kSegmentChunks, last - chunk);
            products = hn::Add(products, bit_products<kBits>(planes + chunk * kBits * kLanes, job.planes, words + chunk,
                                                             chunks, count));
            levels = hn::Add(levels, hn::PromoteTo(di, hn::LoadU(halves, level_sums)));
            chunk += count;
          }
          const auto columns =
              static_cast<std::int32_t>(std::min(last * kPlaneChunk, job.in_features) - first * kPlaneChunk);
          const VI input = hn::Set(di, columns * meta.twice_zero - 2 * (sums[last] - sums[first]));
          VI exact = hn::ShiftLeft<2>(hn::BitCast(di, products));
          exact = hn::Add(exact, hn::Mul(twice_zero, input));
          exact = hn::Sub(exact, hn::Mul(levels, hn::Set(di, 2 * meta.twice_zero)));
          acc = hn::MulAdd(hn::ConvertTo(d, exact), scale, acc);
        }
      }
      store_outputs(job, row, feature, std::min(kLanes, end - feature), acc);
    }
  }
}

// Plane j of 32 columns of a row: one word, kLanes words apart from the next plane's.
void lay_out_bits(const PackedTensor& tensor, IntWeight& weight) {
  const std::size_t rows = tensor.shape.rows(), columns = tensor.shape.cols();
  const auto bits = static_cast<std::size_t>(weight.bits);
  const std::size_t tiles = (rows + kLanes - 1) / kLanes, tile_words = weight.chunks * bits * kLanes;
  weight.plane_bytes = tiles * tile_words * sizeof(std::uint32_t);
  weight.planes = aligned_zeros(weight.plane_bytes);
  weight.segments = weight.groups * ((weight.group_chunks + kSegmentChunks - 1) / kSegmentChunks);
  weight.level_sums.assign(tiles * weight.segments * kLanes, 0);
  const std::size_t group_segments = weight.segments / std::max<std::size_t>(1, weight.groups);
  auto* words = reinterpret_cast<std::uint32_t*>(weight.planes.get());
  std::vector<std::uint8_t> levels(columns);
  for (std::size_t row = 0; row < rows; ++row) {
    int_group_levels(tensor, row, levels);
    std::uint32_t* tile = words + row / kLanes * tile_words + row % kLanes;
    std::uint16_t* sums = weight.level_sums.data() + row / kLanes * weight.segments * kLanes + row % kLanes;
    for (std::size_t i = 0; i < columns; ++i) {
      const std::size_t chunk = i / kPlaneChunk, group = chunk / weight.group_chunks;
      const std::size_t segment = group * group_segments + (chunk - group * weight.group_chunks) / kSegmentChunks;
      sums[segment * kLanes] = static_cast<std::uint16_t>(sums[segment * kLanes] + levels[i]);
      for (std::size_t j = 0; j < bits; ++j) {
        tile[(chunk * bits + j) * kLanes] |= static_cast<std::uint32_t>(levels[i] >> j & 1) << i % kPlaneChunk;
      }
    }
  }
}

template <int kBits>
MatmulFunction planes_function(bool zeros) {
  return zeros ? planes_matmul<kBits, true> : planes_matmul<kBits, false>;
}

IntKernel planes_kernel(int bits, bool zeros) {
  using Choose = MatmulFunction (*)(bool);
  static constexpr Choose kWidths[] = {planes_function<1>, planes_function<2>, planes_function<3>, planes_function<4>,
                                       planes_function<5>, planes_function<6>, planes_function<7>, planes_function<8>};
  return {kLanes, lay_out_bits, kWidths[bits - 1](zeros)};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(planes_kernel);
IntKernel int_group_planes(const KernelSet& kernels, int bits, bool zeros) {
  return HWY_DISPATCH_TABLE(planes_kernel)[kernels.target_index](bits, zeros);
}

void reference_planes_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const PackedTensor& weight = static_cast<const KeptIntegers&>(*job.laid_out).weight;
  const std::size_t columns = job.in_features, group = int_group_columns(weight.params, columns);
  const std::size_t chunks = (columns + kPlaneChunk - 1) / kPlaneChunk;
  auto* levels = scratch.get<std::uint8_t>(columns);
  std::vector<IntGrid> grids(int_groups(weight.params, columns));
  for (std::size_t o = begin; o < end; ++o) {
    int_group_levels(weight, o, std::span(levels, columns));
    int_group_grids(weight, o, grids);
    for (std::size_t r = 0; r < job.rows; ++r) {
      const std::uint32_t* words = job.planes.words + r * chunks * static_cast<std::size_t>(job.planes.bits);
      const PlaneMeta meta = job.planes.meta[r];
      float sum = 0;
      for (std::size_t begin = 0; begin < columns;) {
        const std::size_t g = begin / group, end = std::min({columns, (g + 1) * group, begin + kExactColumns});
        std::int64_t exact = 0;  // four times the product
        for (std::size_t i = begin; i < end; ++i) {
          std::int64_t u = 0;
          for (int p = 0; p < job.planes.bits; ++p) {
            const std::uint32_t word = words[static_cast<std::size_t>(p) * chunks + i / kPlaneChunk];
            u |= static_cast<std::int64_t>(word >> i % kPlaneChunk & 1) << p;
          }
          exact += (2 * u - meta.twice_zero) * (2 * levels[i] - static_cast<std::int64_t>(2 * grids[g].zero));
        }
        sum = std::fma(static_cast<float>(exact), grids[g].scale * (0.25f * meta.scale), sum);
        begin = end;
      }
      if (job.bias) sum += job.bias[o];
      float& out = job.out[r * job.out_stride + o];
      out = job.accumulate ? out + sum : sum;
    }
  }
}
}  // namespace lathe::kernels::cpu
#endif
