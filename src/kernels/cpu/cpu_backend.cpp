// The CPU as a Backend: checks shapes, cuts work into rows for the thread pool, and calls the kernels of the set that
// was chosen when it was made. "Device" memory is ordinary memory, and work runs when it is enqueued.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/grouped.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/router.h"
#include "kernels/cpu/stream.h"

namespace lathe::kernels {
namespace cpu {
namespace {

// Elements a thread should have to itself before another one is woken.
constexpr std::size_t kGrainElements = 1 << 14;

float* row_of(const DeviceTensor& tensor, std::size_t row) {
  return static_cast<float*>(tensor.data) + row * tensor.stride;
}

void check(bool fits, std::string_view operation, const DeviceTensor& a, const DeviceTensor& b) {
  if (!fits) fail(operation, "tensors [{}, {}] and [{}, {}] do not fit each other", a.rows, a.cols, b.rows, b.cols);
}

bool same_shape(const DeviceTensor& a, const DeviceTensor& b) { return a.rows == b.rows && a.cols == b.cols; }

class CpuTable final : public PreparedTable {
 public:
  CpuTable(PackedTensor tensor, const ByteCounter& counter)
      : tensor_(std::move(tensor)), charge_(counter, tensor_.bytes()) {}
  std::uint64_t rows() const override { return tensor_.shape.rows(); }
  std::uint64_t width() const override { return tensor_.shape.cols(); }
  const PackedTensor& tensor() const { return tensor_; }

 private:
  PackedTensor tensor_;
  ByteCharge charge_;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options) : kernels_(select_kernels(options.kernel)), pool_(options.threads) {}

  std::string_view name() const override { return "cpu"; }
  std::string description() const override {
    return fmt::format("{} thread{}, {}", pool_.size(), pool_.size() == 1 ? "" : "s", kernels_.name);
  }
  std::string arithmetic() const override { return fmt::format("cpu, {}", kernels_.name); }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CpuStream>(pool_.size()); }

  DeviceBuffer allocate(std::uint64_t bytes) override { return {allocate_zeroed(bytes, held_), bytes}; }
  DeviceBuffer allocate_in_file(const std::filesystem::path& folder, std::uint64_t bytes) override {
    return {map_scratch(folder, bytes), bytes};
  }
  void page_out(void* memory, std::uint64_t bytes) override { lathe::page_out(memory, bytes); }
  std::uint64_t allocated_bytes() const override { return held_->load(std::memory_order_relaxed); }
  void upload(Stream&, void* target, const void* source, std::uint64_t bytes) override { move(target, source, bytes); }
  void download(Stream&, void* target, const void* source, std::uint64_t bytes) override {
    move(target, source, bytes);
  }
  void copy(Stream&, void* target, const void* source, std::uint64_t bytes) override { move(target, source, bytes); }
  void synchronize(Stream&) override {}

  std::shared_ptr<const PreparedLinear> prepare(const Linear& linear) override {
    return std::make_shared<CpuLinear>(linear, kernels_, pool_, weights_, held_);
  }
  std::shared_ptr<const PreparedTable> prepare_table(const PackedTensor& table) override {
    return std::make_shared<CpuTable>(table, held_);
  }

  void embed(Stream& stream, DeviceTensor out, const PreparedTable& table, const std::int32_t* ids, float scale,
             bool accumulate) override {
    const PackedTensor& tensor = static_cast<const CpuTable&>(table).tensor();
    if (out.cols != table.width())
      fail(tensor.name, "rows of {} do not fit a table of width {}", out.cols, table.width());
    for (std::size_t r = 0; r < out.rows; ++r) {
      if (ids[r] < 0 || static_cast<std::uint64_t>(ids[r]) >= table.rows()) {
        fail(tensor.name, "id {} is outside of a table of {} rows", ids[r], table.rows());
      }
    }
    for_rows(out, [&](std::size_t r, int worker) {
      float* target = row_of(out, r);
      float* values = accumulate ? workspace(stream, worker).get<float>(out.cols) : target;
      tensor.decode_row(static_cast<std::uint64_t>(ids[r]), std::span(values, out.cols));
      if (accumulate) {
        kernels_.elementwise->add_scaled(target, values, scale, out.cols);
      } else if (scale != 1) {
        kernels_.elementwise->scale(target, scale, out.cols);
      }
    });
  }

  void linear(Stream& stream, DeviceTensor x, std::span<const LinearCall> calls) override {
    run_linear(pool_, kernels_, static_cast<CpuStream&>(stream), x, calls);
  }

  void grouped_linear(Stream& stream, DeviceTensor x, const std::int32_t* choice,
                      std::span<const GroupedCall> calls) override {
    for (const GroupedCall& call : calls) {
      check(x.rows == 0 || (call.out.rows % x.rows == 0 && call.out.rows == calls.front().out.rows), "grouped_linear",
            call.out, x);
      if (call.weights.empty() || call.weights.size() != calls.front().weights.size()) {
        fail("grouped_linear", "{} matrices beside {}", call.weights.size(), calls.front().weights.size());
      }
      for (std::size_t i = 0; choice && i < call.out.rows; ++i) {
        if (choice[i] < 0 || static_cast<std::size_t>(choice[i]) >= call.weights.size()) {
          fail("grouped_linear", "matrix {} of {}", choice[i], call.weights.size());
        }
      }
    }
    run_grouped_linear(pool_, kernels_, static_cast<CpuStream&>(stream), x, choice, calls);
  }

  void route(Stream& stream, const RouterParams& params, DeviceTensor weights, DeviceTensor experts,
             DeviceTensor logits) override {
    check(weights.rows == logits.rows && weights.cols == params.top_k && params.top_k <= logits.cols, "route", weights,
          logits);
    check(same_shape(weights, experts) && experts.dtype == DType::kI32, "route", weights, experts);
    if (params.n_groups == 0 || logits.cols % params.n_groups != 0 ||
        params.top_k > logits.cols / params.n_groups * params.top_groups) {
      fail("route", "{} of {} groups of {} experts do not hold {}", params.top_groups, params.n_groups, logits.cols,
           params.top_k);
    }
    for_rows(logits, [&](std::size_t r, int worker) {
      route_row(params, std::span(row_of(logits, r), logits.cols), row_of(weights, r),
                static_cast<std::int32_t*>(experts.data) + r * experts.stride,
                workspace(stream, worker).get<float>(2 * logits.cols));
    });
  }

  void combine(Stream&, DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate) override {
    check(out.cols == x.cols && out.rows == weights.rows && x.rows == weights.rows * weights.cols, "combine", out, x);
    for_rows(out, [&](std::size_t r, int) {
      float* target = row_of(out, r);
      if (!accumulate) std::fill_n(target, out.cols, 0.0f);
      for (std::size_t j = 0; j < weights.cols; ++j) {
        kernels_.elementwise->add_scaled(target, row_of(x, r * weights.cols + j), row_of(weights, r)[j], out.cols);
      }
    });
  }

  void low_rank(Stream& stream, DeviceTensor out, DeviceTensor x, const PreparedLinear& a, const PreparedLinear& b,
                float scale, std::span<const std::uint32_t> rows) override {
    if (rows.empty()) return;
    CpuStream& space = static_cast<CpuStream&>(stream);
    const DeviceTensor in = DeviceTensor::dense(space.rank_in.get<float>(rows.size() * x.cols), rows.size(), x.cols);
    const DeviceTensor mid =
        DeviceTensor::dense(space.rank_mid.get<float>(rows.size() * a.out_features()), rows.size(), a.out_features());
    const DeviceTensor full =
        DeviceTensor::dense(space.rank_out.get<float>(rows.size() * out.cols), rows.size(), out.cols);
    gather_rows(stream, in, x, rows);
    const LinearCall down{&a, mid, false}, up{&b, full, false};
    linear(stream, in, std::span(&down, 1));
    linear(stream, mid, std::span(&up, 1));
    for_rows(full, [&](std::size_t r, int) {
      kernels_.elementwise->add_scaled(row_of(out, rows[r]), row_of(full, r), scale, out.cols);
    });
  }

  void norm(Stream&, NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight, const float* bias,
            std::uint64_t weight_size, float eps) override {
    check(same_shape(out, x), "norm", out, x);
    if (weight_size == 0 || x.cols % weight_size != 0)
      fail("norm", "{} columns do not divide into {}", x.cols, weight_size);
    const auto kernel = kind == NormKind::kRms ? kernels_.norm->rms : kernels_.norm->layer;
    for_rows(x, [&](std::size_t r, int) {
      for (std::size_t i = 0; i < x.cols; i += weight_size) {
        kernel(row_of(out, r) + i, row_of(x, r) + i, weight, bias, weight_size, eps);
      }
    });
  }

  void rope_table(Stream&, DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                  std::uint64_t n_freq, float mscale) override {
    if (table.cols != 2 * n_freq)
      fail("rope", "a table of {} columns does not hold {} frequencies", table.cols, n_freq);
    for_rows(table, [&](std::size_t r, int) {
      float* row = row_of(table, r);
      for (std::size_t i = 0; i < n_freq; ++i) {
        const double angle = positions[r] < kRoundedAngles ? static_cast<float>(positions[r]) * inv_freq[i]
                                                           : static_cast<double>(positions[r]) * inv_freq[i];
        row[i] = static_cast<float>(mscale * std::cos(angle));
        row[n_freq + i] = static_cast<float>(mscale * std::sin(angle));
      }
    });
  }

  void rope(Stream&, DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout) override {
    const std::size_t n_freq = table.cols / 2;
    check((table.rows == 0 ? x.rows == 0 : x.rows % table.rows == 0) && head_dim > 0 && x.cols % head_dim == 0 &&
              table.cols <= head_dim,
          "rope", x, table);
    if (x.rows == 0) return;
    const std::size_t rows_each = x.rows / table.rows;
    for_rows(x, [&](std::size_t r, int) {
      const float* cosines = row_of(table, r / rows_each);
      for (std::size_t head = 0; head < x.cols; head += head_dim) {
        kernels_.rope->rotate(row_of(x, r) + head, cosines, cosines + n_freq, n_freq, layout);
      }
    });
  }

  std::uint64_t kv_block_bytes(const KvLayout& layout) const override { return KvGeometry(layout).bytes; }

  void kv_append(Stream&, const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
                 DeviceTensor k, DeviceTensor v) override {
    check(k.rows == v.rows && k.cols == std::uint64_t{layout.n_kv_heads} * layout.k_dim &&
              v.cols == std::uint64_t{layout.n_kv_heads} * layout.v_dim,
          "kv_append", k, v);
    if (k.rows == 0) return;
    if (layout.block_tokens == 0 || (first_slot + k.rows - 1) / layout.block_tokens >= blocks.size()) {
      fail("kv_append", "slots {} to {} do not fit {} blocks of {}", first_slot, first_slot + k.rows, blocks.size(),
           layout.block_tokens);
    }
    run_kv_append(pool_, kernels_, layout, blocks, first_slot, k, v);
  }

  void kv_keys(Stream&, const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
               DeviceTensor out) override {
    check(out.cols == std::uint64_t{layout.n_kv_heads} * layout.k_dim, "kv_keys", out, out);
    run_kv_keys(layout, blocks, first_slot, out);
  }

  void attention(Stream& stream, const KvLayout& layout, const AttentionParams& params, DeviceTensor out,
                 DeviceTensor q, std::span<const AttentionSequence> sequences) override {
    check(out.rows == q.rows && q.cols == std::uint64_t{params.n_heads} * layout.k_dim &&
              out.cols == std::uint64_t{params.n_heads} * layout.v_dim,
          "attention", out, q);
    if (layout.n_kv_heads == 0 || params.n_heads % layout.n_kv_heads != 0) {
      fail("attention", "{} query heads do not share {} KV heads evenly", params.n_heads, layout.n_kv_heads);
    }
    for (const AttentionSequence& sequence : sequences) {
      if (sequence.row_begin > q.rows || sequence.row_count > q.rows - sequence.row_begin) {
        fail("attention", "a sequence of rows {} + {} lies outside of {} rows", sequence.row_begin, sequence.row_count,
             q.rows);
      }
      for (const KvRun& run : sequence.runs) {
        if (run.begin > run.end || (run.end > 0 && (run.end - 1) / layout.block_tokens >= run.blocks.size())) {
          fail("attention", "slots {} to {} lie outside of {} blocks of {}", run.begin, run.end, run.blocks.size(),
               layout.block_tokens);
        }
      }
    }
    run_attention(pool_, kernels_, static_cast<CpuStream&>(stream), layout, params, out, q, sequences);
  }

  void activate(Stream&, ActivationKind kind, DeviceTensor out, DeviceTensor x) override {
    check(same_shape(out, x), "activate", out, x);
    for_rows(out,
             [&](std::size_t r, int) { kernels_.elementwise->activate(kind, row_of(out, r), row_of(x, r), x.cols); });
  }

  void gated(Stream&, ActivationKind kind, DeviceTensor out, DeviceTensor gate, DeviceTensor up) override {
    check(same_shape(out, gate), "gated", out, gate);
    check(same_shape(out, up), "gated", out, up);
    for_rows(out, [&](std::size_t r, int) {
      kernels_.elementwise->gated(kind, row_of(out, r), row_of(gate, r), row_of(up, r), out.cols);
    });
  }

  void gated_clamped(Stream&, DeviceTensor out, DeviceTensor gate, DeviceTensor up, float limit) override {
    check(same_shape(out, gate), "gated", out, gate);
    check(same_shape(out, up), "gated", out, up);
    for_rows(out, [&](std::size_t r, int) {
      kernels_.elementwise->gated_clamped(row_of(out, r), row_of(gate, r), row_of(up, r), limit, out.cols);
    });
  }

  void assign(Stream&, DeviceTensor out, DeviceTensor x) override {
    check(same_shape(out, x), "assign", out, x);
    for_rows(out, [&](std::size_t r, int) { move(row_of(out, r), row_of(x, r), x.cols * sizeof(float)); });
  }

  void add(Stream&, DeviceTensor out, DeviceTensor a, DeviceTensor b) override {
    check(same_shape(out, a), "add", out, a);
    check(same_shape(out, b), "add", out, b);
    for_rows(out, [&](std::size_t r, int) {
      kernels_.elementwise->add(row_of(out, r), row_of(a, r), row_of(b, r), out.cols);
    });
  }

  void scale(Stream&, DeviceTensor x, float factor) override {
    for_rows(x, [&](std::size_t r, int) { kernels_.elementwise->scale(row_of(x, r), factor, x.cols); });
  }

  void softcap(Stream&, DeviceTensor x, float cap) override {
    for_rows(x, [&](std::size_t r, int) { kernels_.elementwise->softcap(row_of(x, r), cap, x.cols); });
  }

  void gather_rows(Stream&, DeviceTensor out, DeviceTensor x, std::span<const std::uint32_t> rows) override {
    check(out.cols == x.cols && out.rows == rows.size(), "gather_rows", out, x);
    for (const std::uint32_t row : rows) {
      if (row >= x.rows) fail("gather_rows", "row {} is outside of {} rows", row, x.rows);
    }
    for_rows(out, [&](std::size_t r, int) { move(row_of(out, r), row_of(x, rows[r]), x.cols * sizeof(float)); });
  }

  void argmax(Stream&, std::int32_t* out, DeviceTensor x) override {
    for_rows(x, [&](std::size_t r, int) {
      out[r] = static_cast<std::int32_t>(kernels_.elementwise->argmax(row_of(x, r), x.cols));
    });
  }

 private:
  static void move(void* target, const void* source, std::uint64_t bytes) {
    if (bytes > 0) std::memmove(target, source, bytes);
  }
  Scratch& workspace(Stream& stream, int worker) {
    return static_cast<CpuStream&>(stream).worker[static_cast<std::size_t>(worker)];
  }
  // body(row, worker) for every row, in parallel where that pays.
  template <class Body>
  void for_rows(const DeviceTensor& tensor, const Body& body) {
    const std::size_t grain = std::max<std::size_t>(1, kGrainElements / std::max<std::size_t>(1, tensor.cols));
    pool_.parallel_for(tensor.rows, grain, [&](std::size_t begin, std::size_t end, int worker) {
      for (std::size_t r = begin; r < end; ++r) body(r, worker);
    });
  }

  KernelSet kernels_;
  ThreadPool pool_;
  Arena weights_;
  ByteCounter held_ = std::make_shared<std::atomic<std::uint64_t>>(0);
};

}  // namespace
}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace lathe::kernels
