// Integer groups times 8-bit activations, one weight row per lane (bit_planes.h).
//
// Per 32 columns: sum += float(integer dot - zero point * sum of the input's integers) * (scale * input scale). One row
// and many take the same operations in the same order.
#include "kernels/cpu/int_group.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int_group_dot.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/bit_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
IntKernel dot_kernel(int, IntGroupKind, bool) { return {}; }
#else

// What a dot product of unpacked words has too little of every level.
template <int kBits>
constexpr int level_bias() {
  return kBits == 8 ? 128 : 0;
}

// Levels as dot_run takes the weights of a codec.
template <int kBits>
struct Levels {
  static constexpr int kGroup = 0, kLargest = kBits == 8 ? 128 : (1 << kBits) - 1, kZeroShift = -1;
  static constexpr bool kSigned = kBits == 8;
};

template <int kBits, bool kVnni>
HWY_INLINE VI dot_chunk(const VI* words, const std::int8_t* x, const Q8Meta& meta) {
  const Q8Meta* chunk_meta = &meta;
  VI dot;
  dot_run<Levels<kBits>, kVnni, 1>(words, RunScales<Levels<kBits> >(), &x, &chunk_meta, &dot);
  return dot;
}

// Whether zero lies in the middle between two levels.
template <int kBits, IntGroupKind kKind>
inline constexpr bool kBetweenLevels = kKind == IntGroupKind::kBipolar ||
                                       (kKind == IntGroupKind::kSymmetric && kBits == 1);

// A group's scales and zero points in every lane.
struct LaneGrid {
  VF scale;
  VI zero;
};

HWY_INLINE VF load_halves(const std::uint16_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  return hn::PromoteTo(DF(), hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p)));
}

template <int kBits, IntGroupKind kKind>
HWY_INLINE LaneGrid load_grid(const IntWeight& weight, std::size_t at) {
  VF scale = load_halves(weight.scales.data() + at);
  if constexpr (kKind == IntGroupKind::kAsymmetric) {
    const hn::Rebind<std::uint8_t, DI> d8;
    const VI zero = hn::PromoteTo(DI(), hn::LoadU(d8, weight.zeros.data() + at));
    return {scale, hn::Sub(zero, hn::Set(DI(), level_bias<kBits>()))};
  }
  // Odd multiples of 1/2 are odd numbers times half the scale.
  if constexpr (kBetweenLevels<kBits, kKind>) scale = hn::Mul(scale, hn::Set(DF(), 0.5f));
  return {scale, hn::Zero(DI())};
}

// The chunk's share of a row's sums.
template <int kBits, bool kVnni, IntGroupKind kKind>
HWY_INLINE VF add_chunk(VF acc, const VI* words, const LaneGrid& grid, const std::int8_t* x, const Q8Meta& meta) {
  const DI di;
  VI dot = dot_chunk<kBits, kVnni>(words, x, meta);
  const std::int32_t sum = -meta.negated_sum;
  if constexpr (kKind == IntGroupKind::kAsymmetric) {
    dot = hn::Sub(dot, hn::Mul(grid.zero, hn::Set(di, sum)));
  } else if constexpr (kBetweenLevels<kBits, kKind>) {
    constexpr int kTwiceZero = (1 << kBits) - 1 - 2 * level_bias<kBits>();
    dot = hn::Sub(hn::Add(dot, dot), hn::Set(di, sum * kTwiceZero));
  } else {
    constexpr int kZero = (1 << (kBits - 1)) - level_bias<kBits>();
    if constexpr (kZero != 0) dot = hn::Sub(dot, hn::Set(di, sum * kZero));
  }
  return hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(grid.scale, hn::Set(DF(), meta.scale)), acc);
}

template <int kBits, bool kVnni, IntGroupKind kKind>
void dot_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const DF d;
  const auto& weight = static_cast<const IntWeight&>(*job.laid_out);
  constexpr std::size_t kChunkBytes = kLanes * kBits * 4;
  constexpr std::size_t kStepChunks = 8;
  constexpr std::size_t kRows = HWY_MAX_BYTES == 64 ? 4 : 2;
  const std::size_t x_stride = weight.chunks * kIntChunk;
  float* sums = scratch.get<float>(job.rows * kLanes);
  for (std::size_t feature = begin; feature < end; feature += kLanes) {
    const std::size_t tile = feature / kLanes, valid = std::min(kLanes, end - feature);
    const std::byte* planes = weight.planes.get() + tile * weight.chunks * kChunkBytes;
    const std::size_t grids = tile * weight.groups * kLanes;
    if (job.rows == 1) {
      VF acc = hn::Zero(d);
      for (std::size_t group = 0, chunk = 0; group < weight.groups; ++group) {
        const LaneGrid grid = load_grid<kBits, kKind>(weight, grids + group * kLanes);
        const std::size_t last = std::min(weight.chunks, chunk + weight.group_chunks);
        for (; chunk < last; ++chunk, planes += kChunkBytes) {
          prefetch_chunk<kBits>(planes);
          VI words[kChunkWords];
          unpack_chunk<kBits>(planes, words);
          acc = add_chunk<kBits, kVnni, kKind>(acc, words, grid, job.q8.values + chunk * kIntChunk, job.q8.meta[chunk]);
        }
      }
      store_outputs(job, 0, feature, valid, acc);
      continue;
    }
    std::fill(sums, sums + job.rows * kLanes, 0.0f);
    alignas(64) VI words[kStepChunks * kChunkWords];
    LaneGrid step_grids[kStepChunks];
    for (std::size_t chunk = 0; chunk < weight.chunks; chunk += kStepChunks) {
      const std::size_t count = std::min(kStepChunks, weight.chunks - chunk);
      for (std::size_t i = 0; i < count; ++i, planes += kChunkBytes) {
        unpack_chunk<kBits>(planes, words + i * kChunkWords);
        step_grids[i] = load_grid<kBits, kKind>(weight, grids + (chunk + i) / weight.group_chunks * kLanes);
      }
      const auto multiply = [&](std::size_t row, auto rows_constant) HWY_ATTR {
        constexpr std::size_t kCount = decltype(rows_constant)::value;
        VF acc[kCount];
        for (std::size_t r = 0; r < kCount; ++r) acc[r] = hn::LoadU(d, sums + (row + r) * kLanes);
        for (std::size_t i = 0; i < count; ++i) {
          for (std::size_t r = 0; r < kCount; ++r) {
            acc[r] = add_chunk<kBits, kVnni, kKind>(acc[r], words + i * kChunkWords, step_grids[i],
                                                    job.q8.values + (row + r) * x_stride + (chunk + i) * kIntChunk,
                                                    job.q8.meta[(row + r) * weight.chunks + chunk + i]);
          }
        }
        for (std::size_t r = 0; r < kCount; ++r) hn::StoreU(acc[r], d, sums + (row + r) * kLanes);
      };
      std::size_t row = 0;
      for (; row + kRows <= job.rows; row += kRows) multiply(row, std::integral_constant<std::size_t, kRows>());
      for (; row < job.rows; ++row) multiply(row, std::integral_constant<std::size_t, 1>());
    }
    for (std::size_t r = 0; r < job.rows; ++r) store_outputs(job, r, feature, valid, hn::LoadU(d, sums + r * kLanes));
  }
}

void lay_out_words(const PackedTensor& tensor, IntWeight& weight) {
  const BitPlanes planes =
      make_bit_planes(tensor.shape.rows(), tensor.shape.cols(), weight.bits, kLanes,
                      [&](std::size_t row, std::span<std::uint8_t> levels) { int_group_levels(tensor, row, levels); });
  weight.planes = planes.memory;
  weight.plane_bytes = planes.bytes;
}

template <int kBits, bool kVnni>
MatmulFunction dot_function_of(IntGroupKind kind) {
  switch (kind) {
    case IntGroupKind::kSymmetric:
      return dot_matmul<kBits, kVnni, IntGroupKind::kSymmetric>;
    case IntGroupKind::kAsymmetric:
      return dot_matmul<kBits, kVnni, IntGroupKind::kAsymmetric>;
    case IntGroupKind::kBipolar:
      return dot_matmul<kBits, kVnni, IntGroupKind::kBipolar>;
  }
  return nullptr;
}

template <int kBits>
MatmulFunction dot_function(IntGroupKind kind, bool vnni) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (vnni) return dot_function_of<kBits, true>(kind);
  }
  return dot_function_of<kBits, false>(kind);
}

IntKernel dot_kernel(int bits, IntGroupKind kind, bool vnni) {
  using Choose = MatmulFunction (*)(IntGroupKind, bool);
  static constexpr Choose kWidths[] = {dot_function<1>, dot_function<2>, dot_function<3>, dot_function<4>,
                                       dot_function<5>, dot_function<6>, dot_function<7>, dot_function<8>};
  return {kLanes, lay_out_words, kWidths[bits - 1](kind, vnni)};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(dot_kernel);
IntKernel int_group_dot(const KernelSet& kernels, int bits, IntGroupKind kind) {
  return HWY_DISPATCH_TABLE(dot_kernel)[kernels.target_index](bits, kind, kernels.vnni);
}
}  // namespace lathe::kernels::cpu
#endif
