// Matrix products and attention of the CPU backend. Rates beside the time: bytes of weights or keys and values read per
// second, that as a fraction of what a plain reading loop over the same threads reaches on this machine, operations
// (2 per multiply-add) per second, and of linear layers those as a fraction of what dot products of bytes in registers
// reach (which kernels of floats do not use).
//
//   kernels_bench --benchmark_filter=linear/Q8_0 --threads=2 --kernel=auto
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "dot_peak.h"
#include "kernels/backend.h"
#include "random_weights.h"
#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe::kernels {
namespace {

CpuOptions options;

struct Device {
  std::unique_ptr<Backend> backend = make_cpu_backend(options);
  std::unique_ptr<Stream> stream = backend->make_stream();
};

Device& device() {
  static Device instance;
  return instance;
}

// Bytes per second of a loop that only reads, over more memory than any cache holds: the best of several passes.
double read_bandwidth() {
  static const double measured = [] {
    constexpr std::size_t kBytes = std::size_t{512} << 20, kPiece = std::size_t{1} << 20;
    std::vector<std::uint64_t> memory(kBytes / 8, 1);
    ThreadPool pool(options.threads);
    std::atomic<std::uint64_t> sink{0};
    double best = 0;
    for (int pass = 0; pass < 8; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      pool.parallel_for(kBytes / kPiece, 1, [&](std::size_t piece, std::size_t, int) {
        const std::uint64_t* p = memory.data() + piece * kPiece / 8;
        std::uint64_t sums[8] = {};
        for (std::size_t i = 0; i < kPiece / 8; i += 8) {
          for (std::size_t j = 0; j < 8; ++j) sums[j] += p[i + j];
        }
        for (const std::uint64_t sum : sums) sink += sum;
      });
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::max(best, kBytes / seconds.count());
    }
    benchmark::DoNotOptimize(sink.load());
    return best;
  }();
  return measured;
}

void set_rates(benchmark::State& state, double bytes, double operations) {
  const auto rate = [](double v) { return benchmark::Counter(v, benchmark::Counter::kIsIterationInvariantRate); };
  state.counters["GB/s"] = rate(bytes / 1e9);
  state.counters["of_read"] = rate(bytes / read_bandwidth());
  state.counters["GOP/s"] = rate(operations / 1e9);
}

double dots_per_second() {
  static const double measured = dot_peak(options.kernel, options.threads);
  return measured;
}

// As many copies of the layer as leave the caches no chance between two uses of one, run in turn.
void linear(benchmark::State& state, const char* codec_name, std::uint64_t out, std::uint64_t in, std::uint64_t rows) {
  const PackedTensor weight = random_weights(codec_named(codec_name), out, in);
  const std::size_t copies = rows > 8 ? 1 : std::max<std::size_t>(1, (std::size_t{192} << 20) / weight.bytes());
  std::vector<std::shared_ptr<const PreparedLinear>> layers;
  for (std::size_t i = 0; i < copies; ++i) {
    PackedTensor copy = weight;
    if (i > 0) copy.parts[0].data = Bytes::copy_of(weight.parts[0].data.span(), "weight");
    layers.push_back(device().backend->prepare({copy, {}, {}, {}}));
  }
  std::vector<float> values(rows * in);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  const DeviceBuffer x = device().backend->upload_floats(*device().stream, values);
  const DeviceBuffer y = device().backend->allocate(rows * out * sizeof(float));
  std::size_t next = 0;
  for (auto _ : state) {
    const LinearCall call{layers[next++ % copies].get(), DeviceTensor::dense(y.data(), rows, out), false};
    device().backend->linear(*device().stream, DeviceTensor::dense(x.data(), rows, in), std::span(&call, 1));
  }
  state.SetLabel(std::string(layers[0]->kernel()));
  const auto products = static_cast<double>(rows * out * in);
  set_rates(state, static_cast<double>(weight.bytes()), 2 * products);
  if (dots_per_second() > 0)
    state.counters["of_dots"] =
        benchmark::Counter(products / dots_per_second(), benchmark::Counter::kIsIterationInvariantRate);
}

// `rows` new tokens of each sequence after `context` cached ones; 32 query heads over 8 KV heads of 128.
void attention(benchmark::State& state, KvCodec codec, std::uint64_t context, std::uint64_t rows) {
  const KvLayout kv{codec, 8, 128, 128, 64};
  AttentionParams params;
  params.n_heads = 32, params.scale = 0.088f;
  const std::uint64_t tokens = context + rows;
  const std::size_t copies = 4;  // layers, so that caches do not help
  Backend& backend = *device().backend;
  Stream& stream = *device().stream;
  std::vector<DeviceBuffer> buffers;
  std::vector<std::vector<void*>> blocks(copies);
  std::vector<float> values(tokens * 1024);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  const DeviceBuffer k = backend.upload_floats(stream, values);
  for (std::size_t copy = 0; copy < copies; ++copy) {
    for (std::uint64_t i = 0; i < tokens; i += kv.block_tokens) {
      buffers.push_back(backend.allocate(backend.kv_block_bytes(kv)));
      blocks[copy].push_back(buffers.back().data());
    }
    const DeviceTensor all = DeviceTensor::dense(k.data(), tokens, 1024);
    backend.kv_append(stream, kv, blocks[copy], 0, all, all);
  }
  values.resize(rows * 4096);
  const DeviceBuffer q = backend.upload_floats(stream, values), out = backend.allocate(rows * 4096 * sizeof(float));
  std::size_t next = 0;
  for (auto _ : state) {
    const KvRun run{blocks[next++ % copies], 0, tokens, 0};
    AttentionSequence sequence;
    sequence.row_count = rows, sequence.first_position = static_cast<std::int64_t>(context),
    sequence.runs = std::span(&run, 1);
    backend.attention(stream, kv, params, DeviceTensor::dense(out.data(), rows, 4096),
                      DeviceTensor::dense(q.data(), rows, 4096), std::span(&sequence, 1));
  }
  const double pairs = static_cast<double>(rows) * (static_cast<double>(context) + static_cast<double>(rows + 1) / 2);
  const double element = codec == KvCodec::kF32 ? 4 : codec == KvCodec::kF16 ? 2 : 1;
  set_rates(state, static_cast<double>(tokens) * 2048 * element, pairs * 32 * 128 * 4);
}

// The next token of 16 sequences after `context` cached ones, which they share but for the last 64, or have each in
// blocks of its own.
void attention_of_batch(benchmark::State& state, std::uint32_t kv_heads, std::uint64_t context, bool shared) {
  constexpr std::uint64_t kBatch = 16, kOwn = 64;
  const KvLayout kv{KvCodec::kF16, kv_heads, 128, 128, 64};
  AttentionParams params;
  params.n_heads = 32, params.scale = 0.088f;
  Backend& backend = *device().backend;
  Stream& stream = *device().stream;
  const std::uint64_t tokens = context + kOwn, width = std::uint64_t{kv_heads} * 128;
  std::vector<float> values(std::max(tokens * width, kBatch * 4096));
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  const DeviceBuffer k = backend.upload_floats(stream, values);
  std::vector<DeviceBuffer> buffers;
  std::vector<std::vector<void*>> blocks(kBatch);
  for (std::uint64_t i = 0; i < kBatch; ++i) {
    const bool has_prefix = shared && i > 0;
    if (has_prefix) blocks[i].assign(blocks[0].begin(), blocks[0].end() - 1);
    for (std::uint64_t at = has_prefix ? context : 0; at < tokens; at += kv.block_tokens) {
      buffers.push_back(backend.allocate(backend.kv_block_bytes(kv)));
      blocks[i].push_back(buffers.back().data());
    }
    const DeviceTensor all = DeviceTensor::dense(k.data(), tokens, width);
    backend.kv_append(stream, kv, blocks[i], 0, all, all);
  }
  std::vector<KvRun> runs;
  std::vector<AttentionSequence> sequences(kBatch);
  for (std::uint64_t i = 0; i < kBatch; ++i) runs.push_back({blocks[i], 0, tokens, 0});
  for (std::uint64_t i = 0; i < kBatch; ++i) {
    sequences[i].row_begin = i, sequences[i].row_count = 1;
    sequences[i].first_position = static_cast<std::int64_t>(tokens - 1);
    sequences[i].runs = {&runs[i], 1};
  }
  const DeviceBuffer out = backend.allocate(kBatch * 4096 * sizeof(float));
  for (auto _ : state) {
    backend.attention(stream, kv, params, DeviceTensor::dense(out.data(), kBatch, 4096),
                      DeviceTensor::dense(k.data(), kBatch, 4096), sequences);
  }
  const double read = static_cast<double>(shared ? context + kBatch * kOwn : kBatch * tokens);
  set_rates(state, read * static_cast<double>(width) * 4, static_cast<double>(kBatch * tokens) * 32 * 128 * 4);
}

void rms_norm(benchmark::State& state, std::uint64_t width) {
  const DeviceBuffer x = device().backend->allocate(width * sizeof(float)),
                     w = device().backend->allocate(width * sizeof(float));
  const DeviceTensor row = DeviceTensor::dense(x.data(), 1, width);
  for (auto _ : state) {
    device().backend->norm(*device().stream, NormKind::kRms, row, row, static_cast<const float*>(w.data()), nullptr,
                           width, 1e-5f);
  }
}

void register_all() {
  struct Size {
    std::uint64_t out, in;
  };
  for (const char* codec : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K",
                            "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ2_0", "MXFP4"}) {
    for (const Size size : {Size{2048, 5632}, Size{4096, 4096}}) {
      for (const std::uint64_t rows : {1, 4, 512}) {
        benchmark::RegisterBenchmark(fmt::format("linear/{}/{}x{}/rows:{}", codec, size.out, size.in, rows).c_str(),
                                     [=](benchmark::State& state) { linear(state, codec, size.out, size.in, rows); })
            ->UseRealTime();
      }
    }
  }
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kF16, KvCodec::kI8}) {
    for (const auto& [context, rows] : {std::pair<std::uint64_t, std::uint64_t>{4095, 1}, {0, 512}, {3584, 512}}) {
      benchmark::RegisterBenchmark(
          fmt::format("attention/{}/context:{}/rows:{}", kv_codec_name(codec), context, rows).c_str(),
          [=, c = context, r = rows](benchmark::State& state) { attention(state, codec, c, r); })
          ->UseRealTime();
    }
  }
  for (const std::uint32_t kv_heads : {8, 32}) {
    for (const std::uint64_t context : {1024, 6144}) {
      for (const bool shared : {false, true}) {
        benchmark::RegisterBenchmark(
            fmt::format("attention/batch:16/kv_heads:{}/context:{}/{}", kv_heads, context, shared ? "shared" : "apart")
                .c_str(),
            [=](benchmark::State& state) { attention_of_batch(state, kv_heads, context, shared); })
            ->UseRealTime();
      }
    }
  }
  benchmark::RegisterBenchmark("rms_norm/4096", [](benchmark::State& state) { rms_norm(state, 4096); });
}

}  // namespace
}  // namespace lathe::kernels

int main(int argc, char** argv) {
  using namespace lathe::kernels;
  benchmark::Initialize(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--threads=", 10) == 0) {
      options.threads = std::atoi(argv[i] + 10);
    } else if (std::strncmp(argv[i], "--kernel=", 9) == 0) {
      options.kernel = argv[i] + 9;
    } else {
      fmt::print(stderr, "unknown option {} (there are --threads=N and --kernel=NAME)\n", argv[i]);
      return 2;
    }
  }
  fmt::print("{}; a reading loop reaches {:.1f} GB/s, dot products of bytes {:.0f} billion multiply-adds a second\n",
             device().backend->description(), read_bandwidth() / 1e9, dots_per_second() / 1e9);
  register_all();
  benchmark::RunSpecifiedBenchmarks();
}
