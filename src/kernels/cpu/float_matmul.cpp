// F32, F16 and BF16 weights with float input, and every codec without a kernel of its own by way of floats. Weights
// come in tiles of up to 32 rows, one row per lane, [columns][rows]. Each pair (weight row, input row) has one sum for
// every 256 columns, filled column by column, and the sums are added up in order: short sums round less, and every
// instruction set computes the same bits, however many rows share a pass.
#include "kernels/cpu/float_matmul.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float_matmul.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/tile_dots-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
FloatKernel f32_kernel() { return {}; }
FloatKernel f16_kernel() { return {}; }
FloatKernel bf16_kernel() { return {}; }
FloatKernel decoded_kernel() { return {}; }
#else

namespace {

constexpr std::size_t kMostLanes = 32;  // weight rows of a tile
constexpr std::size_t kRunColumns = 256;
constexpr std::size_t kGroupTiles = 8;   // that take all rows of input together
constexpr std::size_t kDecodedRows = 8;  // of a codec without a kernel, decoded and interleaved together

// Vectors of weights times rows of input that a pass keeps in registers.
constexpr std::size_t kPassVectors = kLanes >= 8 ? 2 : 4;
constexpr std::size_t kPassRows = kLanes == 16 ? 12 : 6;

template <class W>
HWY_INLINE VF load_weights(const W* w) {
  if constexpr (sizeof(W) == 4) {
    return hn::Load(DF(), w);
  } else {
    return hn::PromoteTo(DF(), hn::Load(hn::Rebind<W, DF>(), w));
  }
}

// Columns of one tile, of which a pass takes some: w [columns][lanes], x [rows][x_stride], totals [rows][lanes].
template <class W>
struct Run {
  const W* w;
  const float* x;
  float* totals;
  std::size_t lanes, x_stride, columns;
};

// Adds the products of kVectors vectors of weights with kRows rows of input to their totals.
template <class W, std::size_t kVectors, std::size_t kRows>
HWY_INLINE void add_products(const Run<W>& run) {
  const DF d;
  VF sums[kRows][kVectors];
  const float* x[kRows];
  for (std::size_t r = 0; r < kRows; ++r) {
    x[r] = run.x + r * run.x_stride;
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  const W* w = run.w;
  for (std::size_t i = 0; i < run.columns; ++i, w += run.lanes) {
    if constexpr (kRows == 1) prefetch_weights<kVectors * kLanes * sizeof(W)>(w);
    VF weights[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) weights[v] = load_weights(w + v * kLanes);
    for (std::size_t r = 0; r < kRows; ++r) {
      const VF in = hn::Set(d, x[r][i]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weights[v], in, sums[r][v]);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* total = run.totals + r * run.lanes + v * kLanes;
      hn::Store(hn::Add(hn::Load(d, total), sums[r][v]), d, total);
    }
  }
}

// add_products for each number of rows from 1 to kPassRows.
template <class W, std::size_t kVectors>
void add_rows(const Run<W>& run, std::size_t rows) {
  static constexpr auto kTable = []<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
    return std::array{add_products<W, kVectors, kIndex + 1>...};
  }
  (std::make_index_sequence<kPassRows>());
  kTable[rows - 1](run);
}

template <class W>
void add_run(Run<W> run, std::size_t rows) {
  if (rows == 1 && run.lanes == kMostLanes) return add_products<W, kMostLanes / kLanes, 1>(run);
  const std::size_t lanes = run.lanes;
  for (std::size_t r = 0; r < rows; r += kPassRows) {
    const std::size_t count = std::min(kPassRows, rows - r);
    for (std::size_t lane = 0; lane < lanes;) {
      Run<W> pass = run;
      pass.w += lane, pass.x += r * run.x_stride, pass.totals += r * lanes + lane;
      if (lane + kPassVectors * kLanes <= lanes) {
        add_rows<W, kPassVectors>(pass, count);
        lane += kPassVectors * kLanes;
      } else {
        add_rows<W, 1>(pass, count);
        lane += kLanes;
      }
    }
  }
}

// Whole vectors, and as many as multiply_decoded takes at a time.
std::size_t lanes_of(std::size_t rows) {
  constexpr std::size_t kMultiple = std::max(kLanes, kDecodedRows);
  return std::clamp((rows + kMultiple - 1) / kMultiple * kMultiple, kMultiple, kMostLanes);
}

void store_totals(const MatmulJob& job, const float* totals, std::size_t lanes, std::size_t feature, std::size_t end) {
  for (std::size_t r = 0; r < job.rows; ++r, totals += lanes) {
    for (std::size_t lane = 0; lane < lanes && feature + lane < end; lane += kLanes) {
      store_outputs(job, r, feature + lane, std::min(kLanes, end - feature - lane), hn::Load(DF(), totals + lane));
    }
  }
}

template <class W>
void multiply(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const std::size_t lanes = lanes_of(job.out_features), columns = job.in_features;
  // Where several passes take the same weights, halves are widened for all of them, and several tiles meet the same
  // columns of the input before the next columns are read: all rows of input are more than a cache near the core holds.
  const bool many = job.rows > kPassRows, widen = many && sizeof(W) < sizeof(float);
  const std::size_t tiles = many ? kGroupTiles : 1, tile_floats = job.rows * lanes;
  float* totals = scratch.get<float>(tiles * tile_floats + (widen ? kRunColumns * lanes : 0));
  float* floats = totals + tiles * tile_floats;
  const std::size_t tile_bytes = (columns * lanes * sizeof(W) + 63) / 64 * 64;
  for (std::size_t group = begin; group < end; group += tiles * lanes) {
    const std::size_t count = std::min(tiles, (end - group + lanes - 1) / lanes);
    std::fill_n(totals, count * tile_floats, 0.0f);
    for (std::size_t i = 0; i < columns; i += kRunColumns) {
      Run<W> run{nullptr, job.x + i, totals, lanes, job.x_stride, std::min(kRunColumns, columns - i)};
      for (std::size_t t = 0; t < count; ++t, run.totals += tile_floats) {
        run.w = reinterpret_cast<const W*>(job.blocks + (group / lanes + t) * tile_bytes) + i * lanes;
        if (!widen) {
          add_run(run, job.rows);
          continue;
        }
        for (std::size_t at = 0; at < run.columns * lanes; at += kLanes) {
          prefetch_weights<kLanes * sizeof(W)>(run.w + at);
          hn::Store(load_weights(run.w + at), DF(), floats + at);
        }
        add_run<float>({floats, run.x, run.totals, lanes, run.x_stride, run.columns}, job.rows);
      }
    }
    for (std::size_t t = 0; t < count; ++t) {
      store_totals(job, totals + t * tile_floats, lanes, group + t * lanes, std::min(end, group + (t + 1) * lanes));
    }
  }
}

// Rows of any codec as floats, a few rows at a time beside one another.
void multiply_decoded(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const std::size_t lanes = lanes_of(job.out_features), columns = job.in_features;
  float* totals = scratch.get<float>((job.rows + columns) * lanes + kDecodedRows * columns);
  float *tile = totals + job.rows * lanes, *rows = tile + columns * lanes;
  for (std::size_t feature = begin; feature < end; feature += lanes) {
    const std::size_t last = std::min(end, feature + lanes);
    for (std::size_t first = feature; first < feature + lanes; first += kDecodedRows) {
      for (std::size_t r = 0; r < kDecodedRows; ++r) {
        const std::span row(rows + r * columns, columns);
        if (first + r < last) {
          job.weight->decode_row(first + r, row);
        } else {
          std::fill(row.begin(), row.end(), 0.0f);
        }
      }
      for (std::size_t i = 0; i < columns; ++i) {
        float* to = tile + i * lanes + (first - feature);
        for (std::size_t r = 0; r < kDecodedRows; ++r) to[r] = rows[r * columns + i];
      }
    }
    std::fill_n(totals, job.rows * lanes, 0.0f);
    for (std::size_t i = 0; i < columns; i += kRunColumns) {
      add_run<float>({tile + i * lanes, job.x + i, totals, lanes, job.x_stride, std::min(kRunColumns, columns - i)},
                     job.rows);
    }
    store_totals(job, totals, lanes, feature, last);
  }
}

}  // namespace

FloatKernel f32_kernel() { return {multiply<float>, lanes_of}; }
FloatKernel f16_kernel() { return {multiply<hwy::float16_t>, lanes_of}; }
FloatKernel bf16_kernel() { return {multiply<hwy::bfloat16_t>, lanes_of}; }
FloatKernel decoded_kernel() { return {multiply_decoded, lanes_of}; }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(f32_kernel);
HWY_EXPORT(f16_kernel);
HWY_EXPORT(bf16_kernel);
HWY_EXPORT(decoded_kernel);

namespace {

// bytes: of a weight in a tile; 0: the kernel reads the tensor.
std::optional<Matmul> float_matmul(std::string_view name, const FloatKernel& kernel, const PackedTensor& weight,
                                   std::uint32_t bytes) {
  if (kernel.run == nullptr) return std::nullopt;
  Matmul matmul{name, ActivationFormat::kF32, {kernel.run, {}}};
  matmul.tile_rows = kernel.lanes_of(weight.shape.rows());
  if (bytes > 0) {
    matmul.kernel.tiles = {static_cast<std::uint32_t>(matmul.tile_rows), 1, bytes, 0, 0, bytes};
  }
  return matmul;
}

}  // namespace

std::optional<Matmul> f32_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  return float_matmul("f32 x f32", HWY_DISPATCH_TABLE(f32_kernel)[kernels.target_index](), weight, 4);
}
std::optional<Matmul> f16_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  return float_matmul("f16 x f32", HWY_DISPATCH_TABLE(f16_kernel)[kernels.target_index](), weight, 2);
}
std::optional<Matmul> bf16_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  return float_matmul("bf16 x f32", HWY_DISPATCH_TABLE(bf16_kernel)[kernels.target_index](), weight, 2);
}
std::optional<Matmul> decoded_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  return float_matmul("decoded x f32", HWY_DISPATCH_TABLE(decoded_kernel)[kernels.target_index](), weight, 0);
}
}  // namespace lathe::kernels::cpu
#endif
