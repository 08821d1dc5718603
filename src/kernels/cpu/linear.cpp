#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace lathe::kernels::cpu {
namespace {

// A task reads at least this much weight, so that taking one costs little beside running it.
constexpr std::uint64_t kTaskBytes = 64 << 10;
// Tasks per thread that a loop is cut into where there is enough work, so that a slow core holds nobody up.
constexpr std::size_t kTasksPerThread = 8;
// From this many elements on, preparing the input is worth waking the other threads.
constexpr std::size_t kParallelInput = 1 << 15;

std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Calls whose inputs are prepared alike share one preparation.
struct InputKey {
  ActivationFormat format;
  PlaneFormat planes;
  Q8RowFormat row;
  const std::vector<std::uint32_t>* permutation;  // nullptr when empty
  const std::vector<float>* scale;
  friend bool operator==(const InputKey& a, const InputKey& b) {
    return a.format == b.format && a.planes == b.planes && a.row == b.row && same(a.permutation, b.permutation) &&
           same(a.scale, b.scale);
  }

 private:
  // Linears of one input have equal permutations, each its own.
  template <class Numbers>
  static bool same(const Numbers* a, const Numbers* b) {
    return a == b || (a != nullptr && b != nullptr && *a == *b);
  }
};

InputKey input_key(const CpuLinear& weight) {
  const Linear& linear = weight.linear();
  return {weight.matmul().format, weight.matmul().planes, weight.matmul().row,
          linear.input_permutation.empty() ? nullptr : &linear.input_permutation,
          linear.input_scale.empty() ? nullptr : &linear.input_scale};
}

// Row r of x as the layer reads it: permuted, scaled, padded with zeros.
void prepare_row(const InputKey& key, const DeviceTensor& x, std::size_t r, float* out, std::size_t padded) {
  const float* row = static_cast<const float*>(x.data) + r * x.stride;
  if (key.permutation) {
    for (std::size_t i = 0; i < x.cols; ++i) out[i] = row[(*key.permutation)[i]];
  } else {
    std::memcpy(out, row, x.cols * sizeof(float));
  }
  if (key.scale) {
    for (std::size_t i = 0; i < x.cols; ++i) out[i] *= (*key.scale)[i];
  }
  std::fill(out + x.cols, out + padded, 0.0f);
}

// Calls prepare(row, r) for every row of x as the layer reads it, padded to `padded` columns, in parallel.
template <class Prepare>
void for_prepared_rows(ThreadPool& pool, CpuStream& stream, const InputKey& key, const DeviceTensor& x,
                       std::size_t padded, const Prepare& prepare) {
  const std::size_t grain = std::max<std::size_t>(1, x.rows * x.cols < kParallelInput ? x.rows : 4);
  const bool plain = !key.permutation && !key.scale && padded == x.cols;
  pool.parallel_for(x.rows, grain, [&](std::size_t begin, std::size_t end, int worker) {
    for (std::size_t r = begin; r < end; ++r) {
      const float* row = static_cast<const float*>(x.data) + r * x.stride;
      if (!plain) {
        float* prepared = stream.worker[static_cast<std::size_t>(worker)].get<float>(padded);
        prepare_row(key, x, r, prepared, padded);
        row = prepared;
      }
      prepare(row, r);
    }
  });
}

// How far apart rows of floats lie. Kernels read a run of 256 columns of several rows over and over, which all map to
// the same sets of a cache when rows lie a multiple of 4 kB apart: a run's 16 cache lines and one more than such a
// multiple spreads them.
std::size_t float_stride(std::size_t rows, std::size_t columns) {
  constexpr std::size_t kLine = 16, kPage = 1024, kSpread = 17 * kLine;  // floats
  const std::size_t lines = round_up(columns, kLine);
  return rows == 1 || lines < kPage ? lines : lines + (kPage + kSpread - lines % kPage) % kPage;
}

// Fills job.x, job.q8, job.q8_row, job.lut or job.planes.
void prepare_input(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, const InputKey& key,
                   const DeviceTensor& x, MatmulJob& job) {
  switch (key.format) {
    case ActivationFormat::kF32: {
      const std::size_t stride = float_stride(x.rows, x.cols);
      const std::size_t grain = std::max<std::size_t>(1, x.rows * x.cols < kParallelInput ? x.rows : 4);
      float* floats = stream.floats.get<float>(x.rows * stride);
      pool.parallel_for(x.rows, grain, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t r = begin; r < end; ++r) prepare_row(key, x, r, floats + r * stride, x.cols);
      });
      job.x = floats;
      job.x_stride = stride;
      break;
    }
    case ActivationFormat::kQ8Block: {
      const std::size_t padded = round_up(x.cols, kQ8Block), blocks = padded / kQ8Block;
      std::int8_t* values = stream.q8_values.get<std::int8_t>(x.rows * padded);
      Q8Meta* meta = stream.q8_meta.get<Q8Meta>(x.rows * blocks);
      std::int8_t* amx = nullptr;
      AmxMeta* amx_meta = nullptr;
      if (kernels.extension == Extension::kAmx && x.rows >= kLeastAmxRows) {
        const std::size_t rows = round_up(x.rows, kAmxRows);
        amx = stream.q8_amx.get<std::int8_t>(rows * padded);
        amx_meta = stream.q8_amx_meta.get<AmxMeta>(rows / kAmxRows * blocks);
      }
      for_prepared_rows(pool, stream, key, x, padded, [&](const float* row, std::size_t r) {
        const std::int8_t* from = values + r * padded;
        kernels.quantize->q8(row, padded, values + r * padded, meta + r * blocks);
        if (amx == nullptr) return;
        std::int8_t* to = amx + r / kAmxRows * kAmxRows * padded + r % kAmxRows * kQ8Block;
        for (std::size_t i = 0; i < blocks; ++i) {
          std::memcpy(to + i * kAmxRows * kQ8Block, from + i * kQ8Block, kQ8Block);
          amx_meta[r / kAmxRows * blocks + i].set(r % kAmxRows, meta[r * blocks + i]);
        }
      });
      job.q8 = {values, meta, amx, amx_meta};
      break;
    }
    case ActivationFormat::kQ8Row: {
      const std::size_t padded = round_up(x.cols, kQ8Block), sums_per_row = padded / kQ8Block + 1;
      std::int8_t* values = stream.q8_values.get<std::int8_t>(x.rows * padded);
      float* scales = stream.q8_row_scales.get<float>(x.rows);
      std::int32_t* sums = stream.q8_row_sums.get<std::int32_t>(x.rows * sums_per_row);
      if (key.row.scale == 0) {
        for_prepared_rows(pool, stream, key, x, padded, [&](const float* row, std::size_t r) {
          scales[r] = kernels.quantize->q8_row(row, padded, values + r * padded, sums + r * sums_per_row);
        });
        job.q8_row = {values, scales, sums};
        break;
      }
      Q8Outlier* outliers = key.row.shadow ? stream.q8_outliers.get<Q8Outlier>(x.rows * padded) : nullptr;
      std::uint32_t* beyond = stream.q8_beyond.get<std::uint32_t>(x.rows);
      for_prepared_rows(pool, stream, key, x, padded, [&](const float* row, std::size_t r) {
        scales[r] = kernels.quantize->q8_fixed(row, padded, key.row.scale, values + r * padded, sums + r * sums_per_row,
                                               key.row.shadow ? outliers + r * padded : nullptr, beyond + r);
      });
      stream.q8_tally.add(x.cols, key.row.shadow, std::span(beyond, x.rows));
      job.q8_row = {values, scales, sums, outliers, key.row.shadow ? beyond : nullptr};
      break;
    }
    case ActivationFormat::kLut: {
      const std::size_t padded = round_up(x.cols, kLutBlock), blocks = padded / kLutBlock;
      const std::size_t row_bytes = padded / 4 * kLutTableBytes;
      std::uint8_t* tables = stream.lut_tables.get<std::uint8_t>(x.rows * row_bytes);
      LutMeta* meta = stream.lut_meta.get<LutMeta>(x.rows * blocks);
      for_prepared_rows(pool, stream, key, x, padded, [&](const float* row, std::size_t r) {
        kernels.lut(row, blocks, tables + r * row_bytes, meta + r * blocks);
      });
      job.lut = {tables, meta};
      break;
    }
    case ActivationFormat::kPlanes: {
      const std::size_t padded = round_up(x.cols, kPlaneChunk), chunks = padded / kPlaneChunk;
      const std::size_t row_words = chunks * static_cast<std::size_t>(key.planes.bits);
      std::uint32_t* words = stream.plane_words.get<std::uint32_t>(x.rows * row_words);
      std::int32_t* sums = stream.plane_sums.get<std::int32_t>(x.rows * (chunks + 1));
      PlaneMeta* meta = stream.plane_meta.get<PlaneMeta>(x.rows);
      for_prepared_rows(pool, stream, key, x, padded, [&](const float* row, std::size_t r) {
        kernels.quantize->planes(row, x.cols, key.planes, words + r * row_words, sums + r * (chunks + 1), meta + r);
      });
      job.planes = {words, sums, meta, key.planes.bits};
      break;
    }
  }
}

void check_shapes(const DeviceTensor& x, const LinearCall& call, const CpuLinear& weight) {
  if (x.cols != weight.in_features() || call.out.cols != weight.out_features() || call.out.rows != x.rows) {
    fail(weight.linear().weight.name, "input [{}, {}] and output [{}, {}] do not fit a weight [{}, {}]", x.rows, x.cols,
         call.out.rows, call.out.cols, weight.out_features(), weight.in_features());
  }
}

// The input as a kernel wants it whose column i is column order[i] of the weight.
void reorder_input(Linear& linear, std::vector<std::uint32_t> order) {
  if (order.empty()) return;
  std::vector<float> scale;
  for (std::uint32_t& column : order) {
    if (!linear.input_scale.empty()) scale.push_back(linear.input_scale[column]);
    if (!linear.input_permutation.empty()) column = linear.input_permutation[column];
  }
  linear.input_permutation = std::move(order);
  linear.input_scale = std::move(scale);
}

}  // namespace

CpuLinear::CpuLinear(Linear linear, const KernelSet& kernels, ThreadPool& pool, Arena& arena,
                     const ByteCounter& counter)
    : linear_(std::move(linear)),
      matmul_(find_matmul(linear_.weight, kernels)),
      kernel_name_(fmt::format("{}, {}", matmul_.name, kernels.name)),
      bytes_((matmul_.laid_out ? matmul_.laid_out->bytes() : linear_.weight.bytes()) +
             linear_.bias.size() * sizeof(float) + matmul_.input_order.size() * sizeof(std::uint32_t)),
      tiles_(pack(pool, arena)),
      charge_(counter, bytes_) {
  if (matmul_.laid_out) linear_.weight.parts.clear();  // the kernel reads its own copy
  const std::uint64_t in = in_features();
  if (!linear_.input_permutation.empty() && linear_.input_permutation.size() != in) {
    fail(linear_.weight.name, "the input permutation has {} entries, not {}", linear_.input_permutation.size(), in);
  }
  for (const std::uint32_t index : linear_.input_permutation) {
    if (index >= in) fail(linear_.weight.name, "the input permutation names column {} of {}", index, in);
  }
  if (!linear_.input_scale.empty() && linear_.input_scale.size() != in) {
    fail(linear_.weight.name, "the input scale has {} entries, not {}", linear_.input_scale.size(), in);
  }
  if (!linear_.bias.empty() && linear_.bias.size() != out_features()) {
    fail(linear_.weight.name, "the bias has {} entries, not {}", linear_.bias.size(), out_features());
  }
  reorder_input(linear_, std::move(matmul_.input_order));
}

std::shared_ptr<std::byte> CpuLinear::pack(ThreadPool& pool, Arena& arena) {
  const TileFormat& format = matmul_.kernel.tiles;
  if (format.lanes == 0) return nullptr;
  std::shared_ptr<std::byte> tiles = arena.allocate(format.bytes(out_features(), in_features()));
  pack_tiles(pool, format, out_features(), in_features(), linear_.weight.part("blocks").span(), tiles.get());
  linear_.weight.parts.clear();
  return tiles;
}

MatmulJob CpuLinear::job() const {
  MatmulJob job;
  job.weight = &linear_.weight;
  job.out_features = out_features();
  job.in_features = in_features();
  job.laid_out = matmul_.laid_out.get();
  if (tiles_) {
    job.blocks = tiles_.get();
  } else if (block_format(*linear_.weight.codec)) {
    job.blocks = linear_.weight.part("blocks").data();
  }
  job.bias = linear_.bias.empty() ? nullptr : linear_.bias.data();
  return job;
}

void run_linear(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, DeviceTensor x,
                std::span<const LinearCall> calls) {
  if (x.rows == 0) return;
  // Consecutive calls with the same input preparation run together.
  for (std::size_t first = 0; first < calls.size();) {
    const InputKey key = input_key(static_cast<const CpuLinear&>(*calls[first].weight));
    MatmulJob input;
    prepare_input(pool, kernels, stream, key, x, input);

    struct Part {
      MatmulJob job;
      MatmulFunction run;
      std::size_t step, first_task;  // output features per task
    };
    std::vector<Part> parts;
    std::size_t tasks = 0, features = 0, last = first;
    for (; last < calls.size(); ++last) {
      const auto& weight = static_cast<const CpuLinear&>(*calls[last].weight);
      if (input_key(weight) != key) break;
      check_shapes(x, calls[last], weight);
      features += weight.out_features();
    }
    for (; first < last; ++first) {
      const LinearCall& call = calls[first];
      const auto& weight = static_cast<const CpuLinear&>(*call.weight);
      if (weight.out_features() == 0) continue;
      Part part{weight.job(), weight.matmul().kernel.run, 0, tasks};
      part.job.x = input.x, part.job.x_stride = input.x_stride, part.job.q8 = input.q8, part.job.lut = input.lut;
      part.job.q8_row = input.q8_row, part.job.planes = input.planes;
      part.job.rows = x.rows;
      part.job.out = static_cast<float*>(call.out.data);
      part.job.out_stride = call.out.stride;
      part.job.accumulate = call.accumulate;
      const std::uint64_t row_bytes = std::max<std::uint64_t>(1, weight.bytes() / weight.out_features());
      const std::size_t share = features / (static_cast<std::size_t>(pool.size()) * kTasksPerThread);
      part.step = round_up(std::max<std::size_t>({1, share, x.rows > 1 ? 0 : kTaskBytes / row_bytes}),
                           weight.matmul().tile_rows);
      tasks += (weight.out_features() + part.step - 1) / part.step;
      parts.push_back(part);
    }
    pool.parallel_for(tasks, 1, [&](std::size_t begin, std::size_t end, int worker) {
      for (std::size_t task = begin; task < end; ++task) {
        const Part& part = *std::prev(std::upper_bound(parts.begin(), parts.end(), task,
                                                       [](std::size_t t, const Part& p) { return t < p.first_task; }));
        const std::size_t from = (task - part.first_task) * part.step;
        part.run(part.job, from, std::min(part.job.out_features, from + part.step),
                 stream.worker[static_cast<std::size_t>(worker)]);
      }
    });
  }
}

}  // namespace lathe::kernels::cpu
