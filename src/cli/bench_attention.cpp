// lathe bench attention: one layer's attention at a time, for each codec of keys and values, kernel, context and number
// of rows: how long it takes with the keys and values in the cache and with them coming from memory.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "cli/common.h"
#include "cli/kernel_timing.h"
#include "cli/read_bandwidth.h"
#include "cli/verbs.h"
#include "kernels/backend.h"

namespace lathe::cli {
namespace {

constexpr std::uint32_t kBlockTokens = 32;  // as sessions have them
constexpr std::uint64_t kLine = 64;         // bytes that blocks are aligned to
constexpr std::uint64_t kMostContext = 1 << 24, kMostHeads = 4096, kMostDim = 4096;

struct Heads {
  std::uint32_t n_heads = 32, n_kv_heads = 8, dim = 128;
};

struct Measured {
  std::uint64_t bytes;      // of keys and values that a call reads
  double flops;             // of a call
  double cached, streamed;  // seconds of a call
};

std::vector<float> random_floats(std::uint64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Keys and values of several layers, each in blocks that lie one after the other.
struct LayersKv {
  kernels::DeviceBuffer memory;
  std::vector<std::vector<void*>> blocks;  // by layer

  LayersKv(kernels::Backend& backend, std::size_t n_layers, std::uint64_t n_blocks, std::uint64_t block_bytes)
      : memory(backend.allocate(n_layers * n_blocks * block_bytes)), blocks(n_layers) {
    auto* next = static_cast<std::byte*>(memory.data());
    for (std::vector<void*>& layer : blocks) {
      for (std::uint64_t i = 0; i < n_blocks; ++i, next += block_bytes) layer.push_back(next);
    }
  }
};

// The last `rows` tokens of the context ask all that they may see: 1 is decoding, all of them a whole prompt.
Measured measure_attention(kernels::Backend& backend, kernels::KvCodec codec, const Heads& heads, std::uint64_t context,
                           std::uint64_t rows) {
  const kernels::KvLayout layout{codec, heads.n_kv_heads, heads.dim, heads.dim, kBlockTokens};
  const std::uint64_t block_bytes = (backend.kv_block_bytes(layout) + kLine - 1) / kLine * kLine;
  const std::uint64_t n_blocks = (context + kBlockTokens - 1) / kBlockTokens, layer_bytes = block_bytes * n_blocks;
  const auto stream = backend.make_stream();
  LayersKv layers(backend, (kBeyondCaches + layer_bytes - 1) / layer_bytes, n_blocks, block_bytes);
  const std::uint64_t kv_width = std::uint64_t{heads.n_kv_heads} * heads.dim;
  // A block of random tokens again and again.
  const kernels::DeviceBuffer k = backend.upload_floats(*stream, random_floats(kBlockTokens * kv_width, 1)),
                              v = backend.upload_floats(*stream, random_floats(kBlockTokens * kv_width, 2));
  for (std::uint64_t first = 0; first < context; first += kBlockTokens) {
    const std::uint64_t count = std::min<std::uint64_t>(kBlockTokens, context - first);
    backend.kv_append(*stream, layout, layers.blocks[0], first, kernels::DeviceTensor::dense(k.data(), count, kv_width),
                      kernels::DeviceTensor::dense(v.data(), count, kv_width));
  }
  const std::uint64_t width = std::uint64_t{heads.n_heads} * heads.dim;
  const kernels::DeviceBuffer q = backend.upload_floats(*stream, random_floats(rows * width, 3)),
                              out = backend.allocate(rows * width * sizeof(float));
  kernels::AttentionParams params;
  params.n_heads = heads.n_heads;
  params.scale = 1 / std::sqrt(static_cast<float>(heads.dim));
  const auto attend = [&](std::size_t layer) {
    const kernels::KvRun run{.blocks = layers.blocks[layer], .end = context};
    kernels::AttentionSequence sequence;
    sequence.row_count = rows;
    sequence.first_position = static_cast<std::int64_t>(context - rows);
    sequence.runs = std::span(&run, 1);
    backend.attention(*stream, layout, params, kernels::DeviceTensor::dense(out.data(), rows, width),
                      kernels::DeviceTensor::dense(q.data(), rows, width), std::span(&sequence, 1));
    backend.synchronize(*stream);
  };
  // A row at position p sees p + 1 keys; a product and a sum for each element of a key and of a value.
  const double seen =
      static_cast<double>(rows) * (static_cast<double>(context - rows) + (static_cast<double>(rows) + 1) / 2);
  Measured measured{layer_bytes, 4 * seen * static_cast<double>(width), 0, 0};
  measured.cached = median_seconds(1, attend);
  for (std::size_t layer = 1; layer < layers.blocks.size(); ++layer)
    backend.copy(*stream, layers.blocks[layer][0], layers.blocks[0][0], layer_bytes);
  backend.synchronize(*stream);
  measured.streamed = median_seconds(layers.blocks.size(), attend);
  return measured;
}

}  // namespace

int bench_attention_verb(Arguments arguments) {
  OutputArgs output;
  Heads heads;
  std::string contexts = "4096", rows_text = "1", codecs = "f16,int8,f32", kernels_text = "auto";
  std::uint32_t threads = 0;
  Options options(
      "bench attention", "[options]",
      "Times one layer's attention for every context, number of rows, codec and kernel: with keys and values "
      "in the cache, and with those of enough layers in turn that they come from memory.");
  options.value("--context", contexts, "LIST", "tokens whose keys and values are cached");
  options.value("--rows", rows_text, "LIST", "tokens that ask, the context's last; 1: decoding, more: a prompt");
  options.value("--heads", heads.n_heads, "N", "heads that ask");
  options.value("--kv-heads", heads.n_kv_heads, "N", "heads of keys and values, which the others share");
  options.value("--head-dim", heads.dim, "N", "elements of a head");
  options.value("--kv-codec", codecs, "LIST", "how keys and values are stored: f16, int8, f32");
  options.value("--kernel", kernels_text, "LIST", "kernels, as --kernel of lathe run");
  options.value("-t,--threads", threads, "N", "threads; 0: every core this process may use");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  const auto at_most = [](std::uint64_t value, std::string_view option, std::uint64_t most) {
    if (value == 0 || value > most) throw UsageError(fmt::format("{} is {}, not 1 to {}", option, value, most));
  };
  at_most(heads.n_heads, "--heads", kMostHeads);
  at_most(heads.n_kv_heads, "--kv-heads", kMostHeads);
  at_most(heads.dim, "--head-dim", kMostDim);
  if (heads.n_heads % heads.n_kv_heads != 0)
    throw UsageError(fmt::format("{} heads cannot share {} evenly", heads.n_heads, heads.n_kv_heads), {},
                     "--heads must be a multiple of --kv-heads");
  const std::vector<std::uint64_t> lengths = positive_numbers(contexts, "--context", kMostContext);
  const std::vector<std::uint64_t> row_counts = positive_numbers(rows_text, "--rows", kMostContext);
  for (const std::uint64_t rows : row_counts) {
    for (const std::uint64_t context : lengths) {
      if (rows > context) throw UsageError(fmt::format("--rows {} is more than --context {}", rows, context));
    }
  }
  std::vector<kernels::KvCodec> kv_codecs;
  for (const std::string& name : split(codecs, ',')) kv_codecs.push_back(kv_codec_from(name));
  const auto backends = backends_for(kernels_text, threads);
  const double peak = measure_read_bandwidth(static_cast<int>(threads), kBeyondCaches);

  Json table = Json::array();
  if (!output.json) {
    print_text(fmt::format("{:<9}{:<26}{:>9}{:>7}{:>12}{:>9}{:>10}{:>12}{:>9}{:>9}\n", "kv codec", "kernel", "context",
                           "rows", "cached us", "GB/s", "GFLOP/s", "memory us", "GB/s", "of peak"));
  }
  for (const auto& backend : backends) {
    for (const std::uint64_t context : lengths) {
      for (const std::uint64_t rows : row_counts) {
        for (const kernels::KvCodec codec : kv_codecs) {
          const Measured m = measure_attention(*backend, codec, heads, context, rows);
          const double bytes = static_cast<double>(m.bytes), read = bytes / m.streamed;
          if (!output.json) {
            print_text(fmt::format("{:<9}{:<26}{:>9}{:>7}{:>12.1f}{:>9.1f}{:>10.1f}{:>12.1f}{:>9.1f}{:>7.0f} %\n",
                                   kernels::kv_codec_name(codec), backend->description(), context, rows, 1e6 * m.cached,
                                   1e-9 * bytes / m.cached, 1e-9 * m.flops / m.cached, 1e6 * m.streamed, 1e-9 * read,
                                   100 * per_second(read, peak)));
          }
          table.push_back({{"kv_codec", kernels::kv_codec_name(codec)},
                           {"kernel", backend->description()},
                           {"context", context},
                           {"rows", rows},
                           {"bytes", m.bytes},
                           {"flops", m.flops},
                           {"cached_seconds", m.cached},
                           {"streamed_seconds", m.streamed},
                           {"bandwidth_gbps", 1e-9 * read},
                           {"fraction_of_peak_bandwidth", per_second(read, peak)}});
        }
      }
    }
  }
  if (output.json) {
    print_json({{"heads", heads.n_heads},
                {"kv_heads", heads.n_kv_heads},
                {"head_dim", heads.dim},
                {"threads", threads > 0 ? static_cast<int>(threads) : usable_cores()},
                {"peak_bandwidth_gbps", 1e-9 * peak},
                {"rows", std::move(table)}});
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
