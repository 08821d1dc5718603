// From naive to fast, rung by rung: one product of a row with a weight, and one token's attention, on one thread. Only
// the last rung is in src/; the others are written here, plainly, so that what each step is worth can be measured on
// any machine. Weights and keys are read from memory, not from a cache: copies are used in turn.
//
//   ladder_bench            prints a table for each kernel
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/half.h"
#include "kernels/backend.h"
#include "kernels/cpu/kernels.h"
#include "random_weights.h"
#include "tensor/codec.h"
#include "tensor/codecs/q4.h"
#include "tensor/codecs/q8.h"
#include "tensor/packed_tensor.h"

namespace lathe::kernels {
namespace {

constexpr std::uint64_t kOut = 4096, kIn = 4096;
constexpr std::size_t kBlock = 32;
constexpr std::size_t kCold = std::size_t{256} << 20;  // bytes of copies, more than any cache holds

std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  return values;
}

// Seconds of one call of `step`, which is given a number that grows: the best of several rounds.
double seconds_of(const std::function<void(std::size_t)>& step) {
  using Clock = std::chrono::steady_clock;
  std::size_t calls = 0;
  double best = 1e30;
  for (int round = 0; round < 5; ++round) {
    const auto begin = Clock::now();
    std::size_t count = 0;
    double seconds = 0;
    do {
      step(calls++);
      ++count;
      seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    } while (seconds < 0.2);
    best = std::min(best, seconds / static_cast<double>(count));
  }
  return best;
}

class Ladder {
 public:
  // `bytes` are read and `operations` done by one call of every rung.
  Ladder(std::string_view title, double bytes, double operations) : bytes_(bytes), operations_(operations) {
    fmt::print("\n## {}\n\n| rung | microseconds | GB/s | GOP/s | times the rung before | times the first |\n", title);
    fmt::print("| --- | --- | --- | --- | --- | --- |\n");
  }
  void rung(std::string_view what, const std::function<void(std::size_t)>& step) {
    const double seconds = seconds_of(step);
    if (first_ == 0) first_ = before_ = seconds;
    fmt::print("| {} | {:.0f} | {:.2f} | {:.2f} | {:.2f} | {:.1f} |\n", what, 1e6 * seconds, 1e-9 * bytes_ / seconds,
               1e-9 * operations_ / seconds, before_ / seconds, first_ / seconds);
    before_ = seconds;
  }

 private:
  double bytes_, operations_, first_ = 0, before_ = 0;
};

// From the least to the best of this machine.
std::vector<std::string> kernel_sets() {
  std::vector<std::string> sets = cpu::available_kernels();
  sets.pop_back();  // "scalar", which is for the tests
  std::reverse(sets.begin(), sets.end());
  return sets;
}

float plain_dot(const float* a, const float* b, std::size_t n) {
  float sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Sixteen sums side by side, which the compiler may keep in vectors.
float lanes_dot(const float* a, const float* b, std::size_t n) {
  float sums[16] = {};
  for (std::size_t i = 0; i < n; i += 16) {
    for (std::size_t lane = 0; lane < 16; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (const float one : sums) sum += one;
  return sum;
}

// Activations as Q8_0 has weights: what integer products need.
std::vector<BlockQ8_0> quantized(const std::vector<float>& x) {
  std::vector<BlockQ8_0> blocks(x.size() / kBlock);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    float largest = 0;
    for (std::size_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(x[kBlock * b + i]));
    const float scale = largest / 127;
    blocks[b].d = half_from_float(scale);
    for (std::size_t i = 0; i < kBlock; ++i)
      blocks[b].qs[i] = static_cast<std::int8_t>(std::lround(x[kBlock * b + i] / std::max(scale, 1e-20f)));
  }
  return blocks;
}

std::int32_t block_dot(const BlockQ8_0& w, const BlockQ8_0& x) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) sum += std::int32_t{w.qs[i]} * x.qs[i];
  return sum;
}

std::int32_t block_dot(const BlockQ4_0& w, const BlockQ8_0& x) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    sum += ((w.qs[i] & 15) - 8) * x.qs[i];
    sum += ((w.qs[i] >> 4) - 8) * x.qs[i + kBlock / 2];
  }
  return sum;
}

template <class Block>
float integer_dot(const std::byte* row, const std::vector<BlockQ8_0>& x) {
  float sum = 0;
  for (std::size_t b = 0; b < x.size(); ++b) {
    Block block;
    std::memcpy(&block, row + b * sizeof block, sizeof block);
    sum += float_from_half(block.d) * float_from_half(x[b].d) * static_cast<float>(block_dot(block, x[b]));
  }
  return sum;
}

void linear(const char* codec_name) {
  const Codec& codec = codec_named(codec_name);
  std::vector<PackedTensor> copies = {random_weights(codec, kOut, kIn)};
  while (copies.size() * copies[0].bytes() < kCold) {
    copies.push_back(copies[0]);
    copies.back().parts[0].data = Bytes::copy_of(copies[0].parts[0].data.span(), "weight");
  }
  const std::vector<float> x = random_floats(kIn, 2);
  const std::vector<BlockQ8_0> q = quantized(x);
  std::vector<float> y(kOut), row(kIn);
  Ladder ladder(fmt::format("{}, {} x {}, one row", codec_name, kOut, kIn), static_cast<double>(copies[0].bytes()),
                2.0 * kOut * kIn);
  const auto rows = [&](const auto& dot) {
    return [&copies, &y, dot](std::size_t call) {
      for (std::uint64_t r = 0; r < kOut; ++r) y[r] = dot(copies[call % copies.size()], r);
    };
  };
  ladder.rung("rows decoded to float, one sum", rows([&](const PackedTensor& weight, std::uint64_t r) {
                codec.decode_row(weight, r, 0, row);
                return plain_dot(row.data(), x.data(), kIn);
              }));
  ladder.rung("sixteen sums", rows([&](const PackedTensor& weight, std::uint64_t r) {
                codec.decode_row(weight, r, 0, row);
                return lanes_dot(row.data(), x.data(), kIn);
              }));
  const auto bytes_of = [](const PackedTensor& weight, std::uint64_t r) {
    return weight.parts[0].data.span().data() + r * (weight.bytes() / kOut);
  };
  if (codec.name() == "Q8_0")
    ladder.rung("integer products, block by block", rows([&](const PackedTensor& weight, std::uint64_t r) {
                  return integer_dot<BlockQ8_0>(bytes_of(weight, r), q);
                }));
  if (codec.name() == "Q4_0")
    ladder.rung("integer products, block by block", rows([&](const PackedTensor& weight, std::uint64_t r) {
                  return integer_dot<BlockQ4_0>(bytes_of(weight, r), q);
                }));
  for (const std::string& set : kernel_sets()) {
    const auto backend = make_cpu_backend({.threads = 1, .kernel = set});
    const auto stream = backend->make_stream();
    std::vector<std::shared_ptr<const PreparedLinear>> layers;
    for (const PackedTensor& weight : copies) layers.push_back(backend->prepare({weight, {}, {}, {}}));
    const DeviceBuffer in = backend->upload_floats(*stream, x), out = backend->allocate(kOut * sizeof(float));
    ladder.rung(fmt::format("Lathe's kernel, {}", set), [&](std::size_t call) {
      const LinearCall one{layers[call % layers.size()].get(), DeviceTensor::dense(out.data(), 1, kOut), false};
      backend->linear(*stream, DeviceTensor::dense(in.data(), 1, kIn), std::span(&one, 1));
    });
  }
}

// One token's attention to `kContext` cached ones: 32 query heads over 8 heads of 128 halves.
void attention() {
  constexpr std::size_t kContext = 4096, kHeads = 32, kKvHeads = 8, kWidth = 128, kRow = kKvHeads * kWidth,
                        kCopies = 16;
  const float scale = 1 / std::sqrt(static_cast<float>(kWidth));
  const std::vector<float> k = random_floats(kContext * kRow, 3), q = random_floats(kHeads * kWidth, 4);
  std::vector<std::vector<std::uint16_t>> keys(kCopies);
  for (auto& one : keys) {
    one.resize(k.size());
    std::transform(k.begin(), k.end(), one.begin(), half_from_float);
  }
  std::vector<float> out(kHeads * kWidth), scores(kContext), row(kWidth);
  Ladder ladder(fmt::format("attention, {} tokens cached as halves, one row", kContext), 2.0 * 2 * kContext * kRow,
                4.0 * kContext * kHeads * kWidth);
  // Values are the next copy of the keys: other memory.
  const auto naive = [&](const auto& dot) {
    return [&, dot](std::size_t call) {
      const auto &from = keys[2 * call % kCopies], &values = keys[(2 * call + 1) % kCopies];
      for (std::size_t head = 0; head < kHeads; ++head) {
        const std::size_t at = head / (kHeads / kKvHeads) * kWidth;
        float largest = -INFINITY, total = 0;
        for (std::size_t t = 0; t < kContext; ++t) {
          std::transform(&from[t * kRow + at], &from[t * kRow + at] + kWidth, row.begin(), float_from_half);
          scores[t] = scale * dot(q.data() + head * kWidth, row.data(), kWidth);
          largest = std::max(largest, scores[t]);
        }
        float* sum = out.data() + head * kWidth;
        std::fill(sum, sum + kWidth, 0.0f);
        for (std::size_t t = 0; t < kContext; ++t) {
          const float weight = std::exp(scores[t] - largest);
          total += weight;
          for (std::size_t i = 0; i < kWidth; ++i) sum[i] += weight * float_from_half(values[t * kRow + at + i]);
        }
        for (std::size_t i = 0; i < kWidth; ++i) sum[i] /= total;
      }
    };
  };
  ladder.rung("scores, softmax, sums; head by head", naive(plain_dot));
  ladder.rung("sixteen sums", naive(lanes_dot));
  for (const std::string& set : kernel_sets()) {
    const auto backend = make_cpu_backend({.threads = 1, .kernel = set});
    const auto stream = backend->make_stream();
    const KvLayout kv{KvCodec::kF16, kKvHeads, kWidth, kWidth, 64};
    AttentionParams params;
    params.n_heads = kHeads, params.scale = scale;
    const DeviceBuffer rows = backend->upload_floats(*stream, k), queries = backend->upload_floats(*stream, q),
                       result = backend->allocate(out.size() * sizeof(float));
    std::vector<DeviceBuffer> buffers;
    std::vector<std::vector<void*>> blocks(kCopies / 2);
    for (auto& copy : blocks) {
      for (std::size_t t = 0; t < kContext; t += kv.block_tokens) {
        buffers.push_back(backend->allocate(backend->kv_block_bytes(kv)));
        copy.push_back(buffers.back().data());
      }
      const DeviceTensor all = DeviceTensor::dense(rows.data(), kContext, kRow);
      backend->kv_append(*stream, kv, copy, 0, all, all);
    }
    ladder.rung(fmt::format("Lathe's kernel, {}", set), [&](std::size_t call) {
      const KvRun run{blocks[call % blocks.size()], 0, kContext, 0};
      AttentionSequence sequence;
      sequence.row_count = 1, sequence.first_position = kContext - 1, sequence.runs = std::span(&run, 1);
      backend->attention(*stream, kv, params, DeviceTensor::dense(result.data(), 1, kHeads * kWidth),
                         DeviceTensor::dense(queries.data(), 1, kHeads * kWidth), std::span(&sequence, 1));
    });
  }
}

}  // namespace
}  // namespace lathe::kernels

int main() {
  using namespace lathe::kernels;
  for (const char* codec : {"F16", "Q8_0", "Q4_0", "Q4_K", "Q2_K", "TQ2_0"}) linear(codec);
  attention();
}
