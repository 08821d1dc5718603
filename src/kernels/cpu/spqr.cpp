// SPQR weights times 8-bit activations, one weight row per lane: the dense part as integers, the outliers as floats in
// the same pass over a tile of rows (Dettmers et al. 2023, section 4.3). The activations that outliers meet are the
// ones that the dense part sees, scale * integer.
//
// Per 16 columns of a group: sum += scale * (input scale * dot + zero * (input scale * -sum of the input's integers)),
// with scale and zero put together from their codes; then sum += number * activation for each outlier, by column. One
// row and many take the same operations in the same order.
#include "kernels/cpu/spqr.h"

#include "tensor/codecs/spqr.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/spqr.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/bit_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
LaidOutKernel spqr_kernel(int, bool) { return {}; }
#else

namespace {

constexpr std::size_t kRowBlock = 8;  // input rows that are taken through all tiles of a task together
constexpr std::size_t kStepChunks = 8;

// The integer dot products of 16 columns (4 words) of levels of at most 4 bits.
template <bool kVnni>
HWY_INLINE VI dot_half(const VI* words, const std::int8_t* x) {
  if constexpr (kWideDots<kVnni>) {
    VI sum = hn::Zero(DI());
    for (int i = 0; i < 4; ++i) sum = dot4<false>(sum, words[i], x + 4 * i);
    return sum;
  } else {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    VI sum = pairs<false>(words[0], broadcast4(x));
    for (int i = 1; i < 4; ++i) sum = add16(sum, pairs<false>(words[i], broadcast4(x + 4 * i)));
    return madd(sum, hn::Set(DI(), 0x00010001));
#endif
  }
}

struct LaneGrid {
  VF scale, zero;
};

HWY_INLINE LaneGrid load_grid(const SpqrWeight& weight, std::size_t tile, std::size_t group) {
  const DF d;
  const DI di;
  const hn::Rebind<std::uint8_t, DI> d8;
  const VI codes = hn::PromoteTo(di, hn::LoadU(d8, weight.codes.data() + (tile * weight.groups + group) * kLanes));
  const std::size_t at = (tile * kLanes / kSpqrTileRows * weight.groups + group) * 4;
  alignas(16) std::uint16_t halves[8];
  std::memcpy(halves, weight.tiles.data() + at, 4 * sizeof(std::uint16_t));
  const hn::FixedTag<float, 4> d4;
  alignas(16) float numbers[4];
  hn::Store(hn::PromoteTo(d4, hn::Load(hn::Rebind<hwy::float16_t, hn::FixedTag<float, 4> >(),
                                       reinterpret_cast<const hwy::float16_t*>(halves))),
            d4, numbers);
  const VF scale_code = hn::ConvertTo(d, hn::And(codes, hn::Set(di, (1 << kSpqrCodeBits) - 1)));
  const VF zero_code = hn::ConvertTo(d, hn::ShiftRight<kSpqrCodeBits>(codes));
  return {hn::MulAdd(hn::Set(d, numbers[1]), scale_code, hn::Set(d, numbers[0])),
          hn::MulAdd(hn::Set(d, numbers[3]), zero_code, hn::Set(d, numbers[2]))};
}

// A row of the input: its integers, and what goes with them.
struct InputRow {
  const std::int8_t* values;
  const Q8Meta* meta;
  const float* negated;  // [2 * chunks]: input scale * -sum of 16 integers
  const float* floats;   // [columns]: input scale * integer
};

// acc + the products of one chunk (8 words, the grids of its two halves).
template <bool kVnni>
HWY_INLINE VF add_chunk(VF acc, const VI* words, const LaneGrid* grids, const InputRow& x, std::size_t chunk) {
  const DF d;
  const VF input_scale = hn::Set(d, x.meta[chunk].scale);
  for (std::size_t half = 0; half < 2; ++half) {
    const VI dot = dot_half<kVnni>(words + 4 * half, x.values + chunk * kIntChunk + half * kSpqrHalf);
    VF part = hn::Mul(hn::ConvertTo(d, dot), input_scale);
    part = hn::MulAdd(grids[half].zero, hn::Set(d, x.negated[2 * chunk + half]), part);
    acc = hn::MulAdd(grids[half].scale, part, acc);
  }
  return acc;
}

HWY_INLINE VF add_outliers(VF acc, const SpqrWeight& weight, std::size_t tile, const float* x) {
  const DF d;
  const DI di;
  for (std::uint64_t step = weight.ends[tile]; step < weight.ends[tile + 1]; ++step) {
    const VI entry = hn::LoadU(di, reinterpret_cast<const std::int32_t*>(weight.entries.data()) + step * kLanes);
    const VF number = float_from_half_bits(hn::ShiftRight<16>(entry));
    acc = hn::MulAdd(number, hn::GatherIndex(d, x, hn::And(entry, hn::Set(di, 0xffff))), acc);
  }
  return acc;
}

template <int kBits>
HWY_INLINE void unpack(const SpqrWeight& weight, std::size_t tile, std::size_t chunk, const std::byte* levels,
                       VI* words, LaneGrid* grids) {
  prefetch_weights<kLanes * kBits * 4>(levels);
  unpack_chunk<kBits>(levels, words);
  for (std::size_t half = 0; half < 2; ++half) {
    // Columns behind the last are zeros of the input: any grid will do.
    const std::size_t group = std::min((2 * chunk + half) / weight.group_halves, weight.groups - 1);
    grids[half] = load_grid(weight, tile, group);
  }
}

template <int kBits, bool kVnni>
void multiply(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const DF d;
  const auto& weight = static_cast<const SpqrWeight&>(*job.laid_out);
  constexpr std::size_t kChunkBytes = kLanes * kBits * 4;
  constexpr std::size_t kRows = HWY_MAX_BYTES == 64 ? 4 : 2;
  const std::size_t chunks = weight.levels.chunks, columns = chunks * kIntChunk, row_floats = columns + 2 * chunks;
  float* floats = scratch.get<float>(kRowBlock * row_floats);
  for (std::size_t first = 0; first < job.rows; first += kRowBlock) {
    const std::size_t count = std::min(kRowBlock, job.rows - first);
    InputRow x[kRowBlock];
    for (std::size_t r = 0; r < count; ++r) {
      float* own = floats + r * row_floats;
      x[r] = {job.q8.values + (first + r) * columns, job.q8.meta + (first + r) * chunks, own + columns, own};
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
        const Q8Meta& meta = x[r].meta[chunk];
        for (std::size_t i = chunk * kIntChunk; i < (chunk + 1) * kIntChunk; ++i) own[i] = meta.scale * x[r].values[i];
        for (std::size_t half = 0; half < 2; ++half) own[columns + 2 * chunk + half] = meta.scale * meta.negated[half];
      }
    }
    for (std::size_t feature = begin; feature < end; feature += kLanes) {
      const std::size_t tile = feature / kLanes, valid = std::min(kLanes, end - feature);
      const std::byte* levels = weight.levels.memory.get() + tile * chunks * kChunkBytes;
      if (count == 1) {
        VF acc = hn::Zero(d);
        for (std::size_t chunk = 0; chunk < chunks; ++chunk, levels += kChunkBytes) {
          VI words[kChunkWords];
          LaneGrid grids[2];
          unpack<kBits>(weight, tile, chunk, levels, words, grids);
          acc = add_chunk<kVnni>(acc, words, grids, x[0], chunk);
        }
        store_outputs(job, first, feature, valid, add_outliers(acc, weight, tile, x[0].floats));
        continue;
      }
      VF sums[kRowBlock];
      for (VF& sum : sums) sum = hn::Zero(d);
      alignas(64) VI words[kStepChunks * kChunkWords];
      LaneGrid grids[kStepChunks * 2];
      for (std::size_t chunk = 0; chunk < chunks; chunk += kStepChunks) {
        const std::size_t step = std::min(kStepChunks, chunks - chunk);
        for (std::size_t i = 0; i < step; ++i, levels += kChunkBytes) {
          unpack<kBits>(weight, tile, chunk + i, levels, words + i * kChunkWords, grids + 2 * i);
        }
        const auto rows = [&](std::size_t row, auto rows_constant) HWY_ATTR {
          constexpr std::size_t kCount = decltype(rows_constant)::value;
          VF acc[kCount];
          for (std::size_t r = 0; r < kCount; ++r) acc[r] = sums[row + r];
          for (std::size_t i = 0; i < step; ++i) {
            for (std::size_t r = 0; r < kCount; ++r) {
              acc[r] = add_chunk<kVnni>(acc[r], words + i * kChunkWords, grids + 2 * i, x[row + r], chunk + i);
            }
          }
          for (std::size_t r = 0; r < kCount; ++r) sums[row + r] = acc[r];
        };
        std::size_t row = 0;
        for (; row + kRows <= count; row += kRows) rows(row, std::integral_constant<std::size_t, kRows>());
        for (; row < count; ++row) rows(row, std::integral_constant<std::size_t, 1>());
      }
      for (std::size_t r = 0; r < count; ++r) {
        store_outputs(job, first + r, feature, valid, add_outliers(sums[r], weight, tile, x[r].floats));
      }
    }
  }
}

template <int kBits>
MatmulFunction function_of_width(bool vnni) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (vnni) return multiply<kBits, true>;
  }
  return multiply<kBits, false>;
}

}  // namespace

LaidOutKernel spqr_kernel(int bits, bool vnni) {
  return {bits == 2   ? function_of_width<2>(vnni)
          : bits == 3 ? function_of_width<3>(vnni)
                      : function_of_width<4>(vnni),
          kLanes};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(spqr_kernel);
std::optional<Matmul> spqr_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  const CodecParams& params = weight.params;
  if (params.row_shift != 0 || static_cast<std::size_t>(params.group_size) % kSpqrHalf != 0) return std::nullopt;
  const LaidOutKernel kernel = HWY_DISPATCH_TABLE(spqr_kernel)[kernels.target_index](params.bits, kernels.vnni());
  std::optional<Matmul> matmul = laid_out_matmul("spqr x q8", ActivationFormat::kQ8Block, kernel, weight, lay_out_spqr);
  if (matmul) matmul->input_order = spqr_order(weight);
  return matmul;
}
}  // namespace lathe::kernels::cpu
#endif
