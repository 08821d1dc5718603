// DGQ weights times rows of 8-bit activations, one weight row per lane: 32-bit integer sums over whole rows, exact, and
// one multiplication by floats at the end.
//
// The sum of scale * (code - zero) * x over a group's columns is  scale * (sum of code * x - zero * sum of x).  Codes
// of 4 bits go into the 8-bit dot products as they are: unlike scale * (code - zero), they are unsigned, as the
// products want them, and sums of pairs leave room in 16 bits. One multiplication per group and row then does what
// expanded weights would: every step is exact, so that any order gives the same bits. (Expanding gains 4 % at 128 rows
// of input with VNNI, and loses at fewer rows: docs/results/compression.md.)
#include "kernels/cpu/dgq.h"

#include "tensor/codecs/dgq.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dgq.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/bit_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
LaidOutKernel dgq_kernel(bool) { return {}; }
#else

namespace {

constexpr std::size_t kStepChunks = 8, kPartChunks = kDgqPartColumns / kIntChunk;
constexpr std::size_t kChunkBytes = kLanes * kDgqBits * 4;

// Codes as dot_run takes the weights of a codec.
struct Codes {
  static constexpr int kGroup = 0, kLargest = kDgqHighestCode, kZeroShift = -1;
  static constexpr bool kSigned = false;
};

// A group's scales and zero points in every lane.
struct LaneGroup {
  VI scale, zero;
};

HWY_INLINE LaneGroup load_group(const DgqWeight& weight, std::size_t at) {
  const DI di;
  const hn::Rebind<std::uint8_t, DI> d8;
  return {hn::PromoteTo(di, hn::LoadU(d8, weight.scales.data() + at)),
          hn::PromoteTo(di, hn::LoadU(d8, weight.zeros.data() + at))};
}

// dots[r] += code * x over a chunk's columns.
template <bool kVnni, int kRows>
HWY_INLINE void add_chunk(const VI* words, const std::int8_t* const* x, VI* dots) {
  if constexpr (kWideDots<kVnni> && kRows >= 8) {  // so many sums need not wait for each other: each goes on
    for (int i = 0; i < kChunkWords; ++i) {
      for (int r = 0; r < kRows; ++r) dots[r] = dot4<false>(dots[r], words[i], x[r] + 4 * i);
    }
  } else {
    VI dot[kRows];
    dot_run<Codes, kVnni, kRows>(words, RunScales<Codes>(), x, nullptr, dot);
    for (int r = 0; r < kRows; ++r) dots[r] = hn::Add(dots[r], dot[r]);
  }
}

// sum + scale * (dot - zero * sum of x).
HWY_INLINE VI add_group(VI sum, VI dot, const LaneGroup& group, std::int32_t x_sum) {
  return hn::Add(sum, hn::Mul(group.scale, hn::Sub(dot, hn::Mul(group.zero, hn::Set(DI(), x_sum)))));
}

// Where a group that chunk `chunk` lies in ends, or `last`.
HWY_INLINE std::size_t group_end(const DgqWeight& weight, std::size_t chunk, std::size_t last) {
  return std::min(last, (chunk / weight.group_chunks + 1) * weight.group_chunks);
}

// Chunks [begin, end) of a tile times one row.
template <bool kVnni>
HWY_INLINE VI multiply_row(const DgqWeight& weight, std::size_t tile, std::size_t begin, std::size_t end,
                           const std::int8_t* x, const std::int32_t* x_sums) {
  const DI di;
  const std::byte* codes = weight.codes.memory.get() + (tile * weight.codes.chunks + begin) * kChunkBytes;
  VI sum = hn::Zero(di);
  for (std::size_t chunk = begin; chunk < end;) {
    const LaneGroup group = load_group(weight, (tile * weight.groups + chunk / weight.group_chunks) * kLanes);
    const std::size_t first = chunk, last = group_end(weight, chunk, end);
    VI dot = hn::Zero(di);
    for (; chunk < last; ++chunk, codes += kChunkBytes) {
      VI words[kChunkWords];
      prefetch_weights<kLanes * kDgqBits * 4>(codes);
      unpack_chunk<kDgqBits>(codes, words);
      const std::int8_t* columns = x + chunk * kIntChunk;
      add_chunk<kVnni, 1>(words, &columns, &dot);
    }
    sum = add_group(sum, dot, group, x_sums[last] - x_sums[first]);
  }
  return sum;
}

// sums[r] [lane] += chunks [begin, end), at most kStepChunks, of a tile times kRows rows. words: those chunks' codes.
template <bool kVnni, int kRows>
HWY_INLINE void multiply_step(const DgqWeight& weight, std::size_t tile, std::size_t begin, std::size_t end,
                              const VI* words, const MatmulJob& job, std::size_t row, std::int32_t* sums) {
  const DI di;
  const std::size_t chunks = weight.codes.chunks;
  VI sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = hn::LoadU(di, sums + static_cast<std::size_t>(r) * kLanes);
  for (std::size_t chunk = begin; chunk < end;) {
    const LaneGroup group = load_group(weight, (tile * weight.groups + chunk / weight.group_chunks) * kLanes);
    const std::size_t first = chunk, last = group_end(weight, chunk, end);
    VI dots[kRows];
    for (int r = 0; r < kRows; ++r) dots[r] = hn::Zero(di);
    for (; chunk < last; ++chunk) {
      const std::int8_t* x[kRows];
      for (int r = 0; r < kRows; ++r) {
        x[r] = job.q8_row.values + ((row + static_cast<std::size_t>(r)) * chunks + chunk) * kIntChunk;
      }
      add_chunk<kVnni, kRows>(words + (chunk - begin) * kChunkWords, x, dots);
    }
    for (int r = 0; r < kRows; ++r) {
      const std::int32_t* x_sums = job.q8_row.sums + (row + static_cast<std::size_t>(r)) * (chunks + 1);
      sum[r] = add_group(sum[r], dots[r], group, x_sums[last] - x_sums[first]);
    }
  }
  for (int r = 0; r < kRows; ++r) hn::StoreU(sum[r], di, sums + static_cast<std::size_t>(r) * kLanes);
}

// Chunks [begin, end) of a tile times all rows: sums [rows][lane].
template <bool kVnni>
void multiply_rows(const DgqWeight& weight, std::size_t tile, std::size_t begin, std::size_t end, const MatmulJob& job,
                   std::int32_t* sums) {
  std::fill(sums, sums + job.rows * kLanes, 0);
  const std::byte* codes = weight.codes.memory.get() + (tile * weight.codes.chunks + begin) * kChunkBytes;
  alignas(64) VI words[kStepChunks * kChunkWords];
  for (std::size_t first = begin; first < end; first += kStepChunks) {
    const std::size_t last = std::min(end, first + kStepChunks);
    for (std::size_t chunk = first; chunk < last; ++chunk, codes += kChunkBytes) {
      unpack_chunk<kDgqBits>(codes, words + (chunk - first) * kChunkWords);
    }
    by_blocks_of_rows(0, job.rows, [&](auto rows, std::size_t row) HWY_ATTR {
      multiply_step<kVnni, decltype(rows)::value>(weight, tile, first, last, words, job, row, sums + row * kLanes);
    });
  }
}

template <bool kVnni>
void multiply(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const DF d;
  const DI di;
  const auto& weight = static_cast<const DgqWeight&>(*job.laid_out);
  const std::size_t chunks = weight.codes.chunks;
  float* totals = scratch.get<float>(2 * job.rows * kLanes);
  auto* sums = reinterpret_cast<std::int32_t*>(totals + job.rows * kLanes);
  for (std::size_t feature = begin; feature < end; feature += kLanes) {
    const std::size_t tile = feature / kLanes, valid = std::min(kLanes, end - feature);
    const VF factor = hn::LoadU(d, weight.factors.data() + tile * kLanes);
    std::fill(totals, totals + job.rows * kLanes, 0.0f);
    for (std::size_t part = 0; part < chunks; part += kPartChunks) {
      const std::size_t last = std::min(chunks, part + kPartChunks);
      if (job.rows == 1) {
        hn::StoreU(multiply_row<kVnni>(weight, tile, part, last, job.q8_row.values, job.q8_row.sums), di, sums);
      } else {
        multiply_rows<kVnni>(weight, tile, part, last, job, sums);
      }
      for (std::size_t i = 0; i < job.rows * kLanes; i += kLanes) {
        hn::StoreU(hn::Add(hn::LoadU(d, totals + i), hn::ConvertTo(d, hn::LoadU(di, sums + i))), d, totals + i);
      }
    }
    for (std::size_t r = 0; r < job.rows; ++r) {
      const VF scale = hn::Mul(factor, hn::Set(d, job.q8_row.scales[r]));
      store_outputs(job, r, feature, valid, hn::Mul(hn::LoadU(d, totals + r * kLanes), scale));
    }
  }
}

}  // namespace

LaidOutKernel dgq_kernel(bool vnni) {
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
HWY_EXPORT(dgq_kernel);
std::optional<Matmul> dgq_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  if (static_cast<std::size_t>(weight.params.group_size) % kIntChunk != 0) return std::nullopt;
  const LaidOutKernel kernel = HWY_DISPATCH_TABLE(dgq_kernel)[kernels.target_index](kernels.vnni());
  return laid_out_matmul("dgq x q8-row", ActivationFormat::kQ8Row, kernel, weight, lay_out_dgq);
}
}  // namespace lathe::kernels::cpu
#endif
