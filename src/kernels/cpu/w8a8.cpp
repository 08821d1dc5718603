// W8A8 weights times rows of 8-bit activations, one weight row per lane, and beside it the few outliers of each row
// ("shadow outlier execution", mllm-NPU, Xu et al. 2024, section 3.3; there on two processors, here one after the
// other):
//   y = weight_scale * input_scale * (sum of w * clipped x + sum over a row's outliers of w * what was clipped)
// All integers, so that any order gives the same bits. An outlier's column of a tile lies in one vector of words.
#include "kernels/cpu/w8a8.h"

#include <algorithm>

#include "base/file.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/w8a8.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/bit_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
LaidOutKernel w8a8_kernel(bool) { return {}; }
#else

namespace {

constexpr std::size_t kStepChunks = 16, kPartChunks = kW8a8PartColumns / kIntChunk;
constexpr std::size_t kChunkBytes = kLanes * kIntChunk;

using DD = hn::ScalableTag<double>;
using HalfInts = hn::Half<DI>;
constexpr std::size_t kHalf = kLanes / 2;

// Bytes as dot_run takes the weights of a codec.
struct Bytes8 {
  static constexpr int kGroup = 0, kLargest = 128, kZeroShift = -1;
  static constexpr bool kSigned = true;
};

// sums[r] [lane] += chunks [begin, end) of a tile times kRows rows, too large by the bias of encode_signed.
template <bool kVnni, int kRows>
HWY_INLINE void multiply_step(const std::byte* bytes, std::size_t chunks, std::size_t begin, std::size_t end,
                              const std::int8_t* x, std::int32_t* sums) {
  const DI di;
  constexpr int kChains = kWideDots<kVnni> && kRows < 4 ? 4 / kRows : 1;  // products need not wait for each other
  VI sum[kRows][kChains];
  for (int r = 0; r < kRows; ++r) {
    sum[r][0] = hn::LoadU(di, sums + static_cast<std::size_t>(r) * kLanes);
    for (int k = 1; k < kChains; ++k) sum[r][k] = hn::Zero(di);
  }
  for (std::size_t chunk = begin; chunk < end; ++chunk, bytes += kChunkBytes) {
    const auto* p = reinterpret_cast<const std::int32_t*>(bytes);
    const std::int8_t* columns[kRows];
    for (int r = 0; r < kRows; ++r) columns[r] = x + (static_cast<std::size_t>(r) * chunks + chunk) * kIntChunk;
    if constexpr (kRows == 1) prefetch_weights<kChunkBytes>(bytes);
    if constexpr (kWideDots<kVnni>) {
      unrolled<kChunkWords>([&](auto i) LATHE_INLINE_LAMBDA {
        constexpr int kWord = decltype(i)::value;
        const VI word = encode_signed(hn::Load(di, p + kWord * kLanes));
        for (int r = 0; r < kRows; ++r) {
          VI& chain = sum[r][kWord % kChains];
          chain = dot4<true>(chain, word, columns[r] + 4 * kWord);
        }
      });
    } else {
      VI words[kChunkWords], dots[kRows];
      for (int i = 0; i < kChunkWords; ++i) words[i] = hn::Load(di, p + static_cast<std::size_t>(i) * kLanes);
      dot_run<Bytes8, kVnni, kRows>(words, RunScales<Bytes8>(), columns, nullptr, dots);
      for (int r = 0; r < kRows; ++r) sum[r][0] = hn::Add(sum[r][0], dots[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int k = 1; k < kChains; ++k) sum[r][0] = hn::Add(sum[r][0], sum[r][k]);
    hn::StoreU(sum[r][0], di, sums + static_cast<std::size_t>(r) * kLanes);
  }
}

// Chunks [begin, end), of one part, of a tile times rows [first, last): sums [row][lane], exact.
template <bool kVnni>
void multiply_part(const W8a8Weight& weight, std::size_t tile, std::size_t begin, std::size_t end, const MatmulJob& job,
                   std::size_t first, std::size_t last, std::int32_t* sums) {
  const DI di;
  const std::size_t chunks = weight.integers.chunks;
  const std::byte* bytes = weight.integers.memory.get() + tile * chunks * kChunkBytes;
  std::fill(sums, sums + (last - first) * kLanes, 0);
  for (std::size_t step = begin; step < end; step += kStepChunks) {
    const std::size_t stop = std::min(end, step + kStepChunks);
    by_blocks_of_rows(first, last, [&](auto rows, std::size_t row) HWY_ATTR {
      multiply_step<kVnni, decltype(rows)::value>(bytes + step * kChunkBytes, chunks, step, stop,
                                                  job.q8_row.values + row * chunks * kIntChunk,
                                                  sums + (row - first) * kLanes);
    });
  }
  if constexpr (kSignedBiased) {  // sums may have gone around 2^32, and come back here
    for (std::size_t r = first; r < last; ++r, sums += kLanes) {
      const std::int32_t* x_sums = job.q8_row.sums + r * (chunks + 1);
      const VI bias = hn::ShiftLeft<7>(hn::Set(di, x_sums[end] - x_sums[begin]));
      hn::StoreU(hn::Sub(hn::LoadU(di, sums), bias), di, sums);
    }
  }
}

// Integers as doubles, and back to the nearest floats, in two halves.
struct Doubles {
  hn::Vec<DD> low, high;
};
HWY_INLINE Doubles doubles_of(VI integers) {
  return {hn::PromoteTo(DD(), hn::LowerHalf(HalfInts(), integers)),
          hn::PromoteTo(DD(), hn::UpperHalf(HalfInts(), integers))};
}
HWY_INLINE VF floats_of(const Doubles& x) {
  const hn::Rebind<float, DD> half;
  alignas(64) float lanes[kLanes];
  hn::Store(hn::DemoteTo(half, x.low), half, lanes);
  hn::Store(hn::DemoteTo(half, x.high), half, lanes + kHalf);
  return hn::Load(DF(), lanes);
}

// sum + the products of a row's outliers with their columns.
HWY_INLINE Doubles add_shadow(const W8a8Weight& weight, std::size_t tile, const Q8Outlier* outliers, std::size_t count,
                              Doubles sum) {
  const DI di;
  const DD dd;
  const std::byte* bytes = weight.integers.memory.get() + tile * weight.integers.chunks * kChunkBytes;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t column = outliers[i].column;
    const VI words = hn::Load(di, reinterpret_cast<const std::int32_t*>(bytes) + column / 4 * kLanes);
    const VI top = hn::ShiftLeftSame(words, static_cast<int>(24 - column % 4 * 8));
    const Doubles w = doubles_of(hn::ShiftRight<24>(top));
    const auto rest = hn::Set(dd, static_cast<double>(outliers[i].rest));
    sum = {hn::MulAdd(w.low, rest, sum.low), hn::MulAdd(w.high, rest, sum.high)};
  }
  return sum;
}

// A tile times rows [first, last). sums: [rows][lane]; totals: likewise, of rows that are longer than a part.
template <bool kVnni>
void multiply_tile(const W8a8Weight& weight, std::size_t feature, std::size_t valid, const MatmulJob& job,
                   std::size_t first, std::size_t last, std::int32_t* sums, double* totals) {
  const DF d;
  const DI di;
  const DD dd;
  const std::size_t tile = feature / kLanes, chunks = weight.integers.chunks;
  const bool one_part = chunks <= kPartChunks;
  if (!one_part) std::fill(totals, totals + (last - first) * kLanes, 0.0);
  for (std::size_t part = 0; part < chunks; part += kPartChunks) {
    multiply_part<kVnni>(weight, tile, part, std::min(chunks, part + kPartChunks), job, first, last, sums);
    for (std::size_t i = 0; !one_part && i < (last - first) * kLanes; i += kLanes) {
      const Doubles sum = doubles_of(hn::LoadU(di, sums + i));
      hn::StoreU(hn::Add(hn::LoadU(dd, totals + i), sum.low), dd, totals + i);
      hn::StoreU(hn::Add(hn::LoadU(dd, totals + i + kHalf), sum.high), dd, totals + i + kHalf);
    }
  }
  for (std::size_t r = first; r < last; ++r, sums += kLanes, totals += one_part ? 0 : kLanes) {
    const std::size_t outliers = job.q8_row.outliers == nullptr ? 0 : job.q8_row.n_outliers[r];
    VF total;
    if (one_part && outliers == 0) {
      total = hn::ConvertTo(d, hn::LoadU(di, sums));
    } else {
      Doubles exact = doubles_of(hn::LoadU(di, sums));
      if (!one_part) exact = {hn::LoadU(dd, totals), hn::LoadU(dd, totals + kHalf)};
      const Q8Outlier* own = job.q8_row.outliers == nullptr ? nullptr : job.q8_row.outliers + r * chunks * kIntChunk;
      total = floats_of(add_shadow(weight, tile, own, outliers, exact));
    }
    const VF scale = hn::Set(d, weight.scale * job.q8_row.scales[r]);
    store_outputs(job, r, feature, valid, hn::Mul(total, scale));
  }
}

template <bool kVnni>
void multiply(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const auto& weight = static_cast<const W8a8Weight&>(*job.laid_out);
  const std::size_t most = std::min(job.rows, rows_at_a_time(job.in_features));
  double* totals = scratch.get<double>(2 * most * kLanes);
  auto* sums = reinterpret_cast<std::int32_t*>(totals + most * kLanes);
  for (std::size_t first = 0; first < job.rows; first += most) {
    const std::size_t last = std::min(job.rows, first + most);
    for (std::size_t feature = begin; feature < end; feature += kLanes) {
      multiply_tile<kVnni>(weight, feature, std::min(kLanes, end - feature), job, first, last, sums, totals);
    }
  }
}

}  // namespace

LaidOutKernel w8a8_kernel(bool vnni) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (vnni) return {multiply<true>, kLanes};
  }
  return {multiply<false>, kLanes};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(w8a8_kernel);

namespace {

W8a8Weight lay_out_w8a8(const PackedTensor& tensor, std::size_t tile_rows) {
  W8a8Weight out;
  out.scale = w8a8_scales(tensor).weight;
  out.integers = make_bit_planes(tensor.shape.rows(), tensor.shape.cols(), 8, tile_rows,
                                 [&](std::size_t row, std::span<std::uint8_t> bytes) {
                                   const std::span<const std::int8_t> values = w8a8_row(tensor, row);
                                   std::copy(values.begin(), values.end(), bytes.begin());
                                 });
  drop_pages(tensor.part("values").span());
  return out;
}

// One integer after another, with the weight as it is.
void reference_w8a8(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch&) {
  const std::size_t padded = (job.in_features + kQ8Block - 1) / kQ8Block * kQ8Block;
  const float weight_scale = w8a8_scales(*job.weight).weight;
  for (std::size_t o = begin; o < end; ++o) {
    const std::span<const std::int8_t> w = w8a8_row(*job.weight, o);
    for (std::size_t r = 0; r < job.rows; ++r) {
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < w.size(); ++i) sum += w[i] * job.q8_row.values[r * padded + i];
      for (std::size_t i = 0; job.q8_row.outliers != nullptr && i < job.q8_row.n_outliers[r]; ++i) {
        const Q8Outlier& outlier = job.q8_row.outliers[r * padded + i];
        sum += std::int64_t{w[outlier.column]} * outlier.rest;
      }
      float y = static_cast<float>(sum) * (weight_scale * job.q8_row.scales[r]);
      if (job.bias) y += job.bias[o];
      float& out = job.out[r * job.out_stride + o];
      out = job.accumulate ? out + y : y;
    }
  }
}

}  // namespace

std::optional<Matmul> w8a8_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  constexpr std::string_view kName = "w8a8 x q8-row";
  const W8a8Input input = w8a8_scales(weight).input;
  std::optional<Matmul> matmul;
  if (!kernels.scalar) {
    const LaidOutKernel kernel = HWY_DISPATCH_TABLE(w8a8_kernel)[kernels.target_index](kernels.vnni());
    matmul = laid_out_matmul(kName, ActivationFormat::kQ8Row, kernel, weight, lay_out_w8a8);
  }
  if (!matmul) matmul = Matmul{kName, ActivationFormat::kQ8Row, {reference_w8a8, {}}};
  matmul->row = {input.scale, input.scale != 0 && input.shadow};
  return matmul;
}

}  // namespace lathe::kernels::cpu
#endif
