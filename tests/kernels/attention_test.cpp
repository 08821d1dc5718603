// Attention against an obvious implementation in double precision that knows nothing of blocks, runs or partials; and
// the promise that neither chunks, threads nor neighbours change a row's bytes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "kernels/cpu/partials.h"
#include "kernels/device.h"

namespace lathe::kernels {
namespace {

struct Shape4 {
  std::uint32_t n_heads, n_kv_heads, k_dim, v_dim, block_tokens;
};

// A sequence's keys and values on the host, one row per position, as attention sees them after storage.
struct Cache {
  KvLayout layout;
  Floats keys, values;  // [tokens][n_kv_heads * dim]
  std::vector<DeviceBuffer> buffers;
  std::vector<void*> blocks;

  Cache(Device& device, const KvLayout& kv, std::size_t tokens) : layout(kv) {
    for (std::size_t i = 0; i * kv.block_tokens < tokens; ++i) {
      buffers.push_back(device.backend->allocate(device.backend->kv_block_bytes(kv)));
      blocks.push_back(buffers.back().data());
    }
  }
};

// What storing and loading makes of a head's row.
void through_codec(KvCodec codec, float* x, std::size_t n) {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  for (std::size_t i = 0; i < n; ++i) {
    if (codec == KvCodec::kF16) x[i] = float_from_half(half_from_float(x[i]));
    if (codec == KvCodec::kI8 && largest > 0) x[i] = std::nearbyint(x[i] * (127 / largest)) * (largest / 127);
  }
}

struct Rules {
  float scale = 0.25f, softcap = 0;
  bool causal = true;
  std::int64_t window = 0;
  std::uint64_t bidirectional = 0;
  Floats slopes;
  std::int32_t span = 0;       // > 0: biases by distance up to this
  std::vector<Floats> biases;  // by head, 2 * span + 1
};

// One head of the query at `position` over keys at positions[i].
std::vector<double> expected_head(const Cache& cache, const Rules& rules, const std::vector<std::int64_t>& positions,
                                  std::int64_t position, std::int64_t full_until, std::uint32_t head,
                                  std::uint32_t n_heads, const float* q, std::vector<double>* probability) {
  const KvLayout& kv = cache.layout;
  const std::uint32_t kv_head = head * kv.n_kv_heads / n_heads;
  std::vector<double> weight(positions.size());
  double sum = 0;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    bool seen = !rules.causal || positions[i] <= position;
    if (rules.window > 0 && positions[i] <= position - rules.window) seen = false;
    if (position < full_until && positions[i] >= full_until - static_cast<std::int64_t>(rules.bidirectional) &&
        positions[i] < full_until) {
      seen = true;
    }
    if (!seen) continue;
    double score = 0;
    for (std::uint32_t d = 0; d < kv.k_dim; ++d) {
      score += double{q[d]} * cache.keys[(i * kv.n_kv_heads + kv_head) * kv.k_dim + d];
    }
    score *= rules.scale;
    if (rules.softcap > 0) score = rules.softcap * std::tanh(score / rules.softcap);
    if (!rules.slopes.empty()) score += rules.slopes[head] * static_cast<double>(positions[i] - position);
    if (rules.span > 0) {
      std::int64_t distance = positions[i] - position;
      while (distance > rules.span) --distance;
      while (distance < -rules.span) ++distance;
      score += rules.biases[head][static_cast<std::size_t>(rules.span + distance)];
    }
    sum += weight[i] = std::exp(score);
  }
  std::vector<double> out(kv.v_dim);
  for (std::size_t i = 0; i < positions.size() && sum > 0; ++i) {
    for (std::uint32_t d = 0; d < kv.v_dim; ++d) {
      out[d] += weight[i] / sum * cache.values[(i * kv.n_kv_heads + kv_head) * kv.v_dim + d];
    }
    if (probability) (*probability)[i] += weight[i] / sum;
  }
  return out;
}

// Appends tokens [from, to) of the given floats to the cache, in the device and on the host.
void append(Device& device, Cache& cache, const Floats& k, const Floats& v, std::size_t from, std::size_t to) {
  const std::size_t kw = cache.layout.n_kv_heads * cache.layout.k_dim,
                    vw = cache.layout.n_kv_heads * cache.layout.v_dim;
  const Floats ks(k.begin() + static_cast<std::ptrdiff_t>(from * kw), k.begin() + static_cast<std::ptrdiff_t>(to * kw));
  const Floats vs(v.begin() + static_cast<std::ptrdiff_t>(from * vw), v.begin() + static_cast<std::ptrdiff_t>(to * vw));
  device.backend->kv_append(*device.stream, cache.layout, cache.blocks, from, device.tensor(ks, to - from, kw + 3),
                            device.tensor(vs, to - from));
  cache.keys.insert(cache.keys.end(), ks.begin(), ks.end());
  cache.values.insert(cache.values.end(), vs.begin(), vs.end());
  for (std::size_t at = from * kw; at < to * kw; at += cache.layout.k_dim) {
    through_codec(cache.layout.codec, cache.keys.data() + at, cache.layout.k_dim);
  }
  for (std::size_t at = from * vw; at < to * vw; at += cache.layout.v_dim) {
    through_codec(cache.layout.codec, cache.values.data() + at, cache.layout.v_dim);
  }
}

AttentionParams params_of(Device& device, const Shape4& shape, const Rules& rules) {
  AttentionParams params;
  params.n_heads = shape.n_heads, params.scale = rules.scale, params.softcap = rules.softcap;
  params.causal = rules.causal, params.window = rules.window;
  if (!rules.slopes.empty()) params.alibi_slopes = device.floats(rules.slopes);
  if (rules.span > 0) {
    Floats all;
    for (const Floats& head : rules.biases) all.insert(all.end(), head.begin(), head.end());
    params.relative_bias = device.floats(all);
    params.relative_span = rules.span;
  }
  return params;
}

// Runs a prompt of `tokens` in chunks, and returns the outputs of all rows.
Floats run_prompt(Device& device, const Shape4& shape, KvCodec codec, const Rules& rules, std::size_t tokens,
                  std::size_t chunk, Floats* mass = nullptr) {
  const KvLayout kv{codec, shape.n_kv_heads, shape.k_dim, shape.v_dim, shape.block_tokens};
  Cache cache(device, kv, tokens);
  const Floats k = random_floats(tokens * kv.n_kv_heads * kv.k_dim, 1),
               v = random_floats(tokens * kv.n_kv_heads * kv.v_dim, 2);
  const Floats q = random_floats(tokens * shape.n_heads * kv.k_dim, 3);
  const AttentionParams params = params_of(device, shape, rules);
  const std::size_t qw = shape.n_heads * kv.k_dim;
  const DeviceTensor mass_tensor = device.zeros(1, tokens);
  Floats all;
  for (std::size_t from = 0; from < tokens; from += chunk) {
    const std::size_t to = std::min(tokens, from + chunk);
    append(device, cache, k, v, from, to);
    const KvRun run{cache.blocks, 0, to, 0};
    AttentionSequence sequence;
    sequence.row_count = to - from;
    sequence.first_position = static_cast<std::int64_t>(from);
    sequence.runs = std::span(&run, 1);
    sequence.bidirectional_rows = from == 0 ? rules.bidirectional : 0;
    sequence.mass = mass ? static_cast<float*>(mass_tensor.data) : nullptr;
    const DeviceTensor out = device.zeros(to - from, shape.n_heads * kv.v_dim);
    const Floats rows(q.begin() + static_cast<std::ptrdiff_t>(from * qw),
                      q.begin() + static_cast<std::ptrdiff_t>(to * qw));
    device.backend->attention(*device.stream, kv, params, out, device.tensor(rows, to - from, qw + 5),
                              std::span(&sequence, 1));
    const Floats got = device.read(out);
    all.insert(all.end(), got.begin(), got.end());
  }
  if (mass) *mass = device.read(mass_tensor);
  return all;
}

// Holds a whole prompt against the obvious implementation.
void expect_prompt(Device& device, const Shape4& shape, KvCodec codec, const Rules& rules, std::size_t tokens,
                   std::size_t chunk) {
  Floats mass;
  const Floats got = run_prompt(device, shape, codec, rules, tokens, chunk, &mass);
  const KvLayout kv{codec, shape.n_kv_heads, shape.k_dim, shape.v_dim, shape.block_tokens};
  Cache host(device, kv, tokens);
  append(device, host, random_floats(tokens * kv.n_kv_heads * kv.k_dim, 1),
         random_floats(tokens * kv.n_kv_heads * kv.v_dim, 2), 0, tokens);
  const Floats q = random_floats(tokens * shape.n_heads * kv.k_dim, 3);
  std::vector<std::int64_t> positions(tokens);
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<double> received(tokens);
  const auto full_until = static_cast<std::int64_t>(rules.bidirectional);
  for (std::size_t row = 0; row < tokens; ++row) {
    for (std::uint32_t head = 0; head < shape.n_heads; ++head) {
      const std::vector<double> expected =
          expected_head(host, rules, positions, static_cast<std::int64_t>(row), full_until, head, shape.n_heads,
                        q.data() + (row * shape.n_heads + head) * kv.k_dim, &received);
      for (std::uint32_t d = 0; d < kv.v_dim; ++d) {
        ASSERT_NEAR(got[(row * shape.n_heads + head) * kv.v_dim + d], expected[d], 1e-5)
            << kv_codec_name(codec) << ", row " << row << ", head " << head << ", dimension " << d << ", chunk "
            << chunk;
      }
    }
  }
  for (std::size_t i = 0; i < tokens; ++i)
    ASSERT_NEAR(mass[i], received[i], 1e-4 + 1e-5 * received[i]) << "mass of slot " << i;
}

class AttentionTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, AttentionTest, testing::ValuesIn(cpu::available_kernels()),
                         [](const auto& info) { return info.param; });

TEST_P(AttentionTest, MatchesTheObviousImplementation) {
  Device device(GetParam());
  const Shape4 shapes[] = {
      {1, 1, 1, 1, 1}, {4, 2, 24, 40, 16}, {6, 2, 64, 64, 7}, {20, 1, 16, 8, 32}, {3, 3, 72, 33, 256}};
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kF16, KvCodec::kI8}) {
    for (const Shape4& shape : shapes) {
      for (const std::size_t tokens : {1, 2, 31, 70}) {
        expect_prompt(device, shape, codec, {}, tokens, 70);
        device.buffers.clear();
      }
    }
    expect_prompt(device, {4, 2, 24, 40, 48}, codec, {}, 300, 9);  // over the edge of a partition
    device.buffers.clear();
  }
}

TEST_P(AttentionTest, EveryRule) {
  Device device(GetParam());
  const Shape4 shape{6, 2, 32, 32, 16};
  Rules window, capped, alibi, all, image, both, biased, biased_all;
  window.window = 11;
  capped.softcap = 1.5f;
  alibi.slopes = {0.5f, 0.25f, 0.125f, 0, -0.1f, 1};
  all.causal = false;
  image.bidirectional = 13;
  both.bidirectional = 20, both.window = 5, both.softcap = 3, both.slopes = alibi.slopes;
  // Distances of up to 60, of which those from 9 on share a bias.
  biased.span = 9;
  for (std::uint64_t head = 0; head < shape.n_heads; ++head) biased.biases.push_back(random_floats(19, 70 + head));
  biased_all = biased;
  biased_all.causal = false, biased_all.softcap = 2;
  for (const Rules& rules : {window, capped, alibi, all, image, both, biased, biased_all}) {
    expect_prompt(device, shape, KvCodec::kF32, rules, 61, 61);
    device.buffers.clear();
  }
  expect_prompt(device, shape, KvCodec::kF16, window, 600, 37);
  device.buffers.clear();
  expect_prompt(device, shape, KvCodec::kF16, biased, 300, 37);
}

TEST_P(AttentionTest, ChunksDoNotChangeResults) {
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kF16, KvCodec::kI8}) {
    for (const Shape4& shape : {Shape4{4, 2, 32, 32, 16}, Shape4{5, 1, 20, 36, 11}}) {
      Rules rules;
      rules.window = shape.n_heads == 5 ? 100 : 0;
      if (shape.n_heads == 5) rules.span = 20, rules.biases.assign(5, random_floats(41, 9));
      Device device(GetParam(), 1);
      const std::size_t tokens = 290;
      const std::size_t widest = GetParam() == "scalar" ? 40 : tokens;
      Floats mass;
      const Floats whole = run_prompt(device, shape, codec, rules, widest, widest, &mass);
      for (const std::size_t chunk : {1, 2, 7, 16, 33, 255, 256, 289}) {
        Floats mass_of_chunks;
        ASSERT_TRUE(same_bits(whole, run_prompt(device, shape, codec, rules, widest, chunk, &mass_of_chunks)))
            << kv_codec_name(codec) << ", chunks of " << chunk;
        if (GetParam() != "scalar") {
          ASSERT_TRUE(same_bits(mass, mass_of_chunks)) << "mass, chunks of " << chunk;
        }
        device.buffers.clear();
      }
    }
  }
}

TEST_P(AttentionTest, ThreadsDoNotChangeResults) {
  Device one(GetParam(), 1), two(GetParam(), 2), five(GetParam(), 5);
  for (const std::size_t chunk : {19, 300}) {
    const std::size_t tokens = GetParam() == "scalar" ? 40 : 300;
    const Shape4 shape{6, 2, 32, 48, 32};
    const Floats expected = run_prompt(one, shape, KvCodec::kF16, {}, tokens, chunk);
    EXPECT_TRUE(same_bits(expected, run_prompt(two, shape, KvCodec::kF16, {}, tokens, chunk)));
    EXPECT_TRUE(same_bits(expected, run_prompt(five, shape, KvCodec::kF16, {}, tokens, chunk)));
  }
}

// Two sequences in one call, one of them with its keys in three runs (a shared prefix, a gap, and the rest).
TEST_P(AttentionTest, SequencesAndRuns) {
  Device device(GetParam());
  const Shape4 shape{4, 2, 16, 24, 8};
  const KvLayout kv{KvCodec::kF32, 2, 16, 24, 8};
  const std::size_t tokens = 40;
  Cache cache(device, kv, tokens);
  append(device, cache, random_floats(tokens * 32, 1), random_floats(tokens * 48, 2), 0, tokens);
  const Rules rules;
  const AttentionParams params = params_of(device, shape, rules);
  const Floats q = random_floats(7 * 64, 3);
  // Slots 0..8 at positions 0..8, 20..29 at 20..29, 30..39 at 100..109.
  const KvRun runs[] = {{cache.blocks, 0, 9, 0}, {cache.blocks, 20, 30, 20}, {cache.blocks, 30, 40, 100}};
  AttentionSequence sequences[2];
  sequences[0].row_begin = 1, sequences[0].row_count = 2, sequences[0].first_position = 104, sequences[0].runs = runs;
  sequences[1].row_begin = 4, sequences[1].row_count = 3, sequences[1].first_position = 4;
  sequences[1].runs = std::span(runs, 1);
  const DeviceTensor mass = device.tensor(Floats(29, 1.0f), 1);
  sequences[0].mass = static_cast<float*>(mass.data);
  const DeviceTensor out = device.tensor(Floats(7 * 96, 42.0f), 7);
  device.backend->attention(*device.stream, kv, params, out, device.tensor(q, 7), sequences);
  const Floats got = device.read(out);

  std::vector<std::int64_t> positions(tokens, 1 << 20);  // out of sight
  for (const std::size_t slot : {0, 1, 2, 3, 4, 5, 6, 7, 8}) positions[slot] = static_cast<std::int64_t>(slot);
  std::vector<std::int64_t> short_positions = positions;
  for (std::size_t slot = 20; slot < 40; ++slot)
    positions[slot] = static_cast<std::int64_t>(slot < 30 ? slot : slot + 70);
  std::vector<double> received(tokens);
  for (std::size_t row = 0; row < 7; ++row) {
    for (std::uint32_t head = 0; head < 4; ++head) {
      std::vector<double> expected(24, 42.0);
      const float* query = q.data() + row * 64 + head * 16;
      if (row == 1 || row == 2) {
        expected =
            expected_head(cache, rules, positions, 103 + static_cast<std::int64_t>(row), 0, head, 4, query, &received);
      } else if (row >= 4) {
        expected =
            expected_head(cache, rules, short_positions, static_cast<std::int64_t>(row), 0, head, 4, query, nullptr);
      }
      for (std::size_t d = 0; d < 24; ++d) ASSERT_NEAR(got[row * 96 + head * 24 + d], expected[d], 1e-5) << row;
    }
  }
  const Floats seen = device.read(mass);
  std::size_t index = 0;
  for (const KvRun& run : runs) {
    for (std::uint64_t slot = run.begin; slot < run.end; ++slot, ++index)
      EXPECT_NEAR(seen[index], 1 + received[slot], 1e-5);
  }
}

// Sequences that share the blocks of a prefix, of which some diverge inside a partition: as each of them alone.
TEST_P(AttentionTest, SharedPrefixesDoNotChangeResults) {
  for (const KvCodec codec : {KvCodec::kF16, KvCodec::kI8}) {
    Device device(GetParam());
    const Shape4 shape{6, 2, 24, 40, 48};  // partitions begin inside blocks
    const KvLayout kv{codec, 2, 24, 40, 48};
    Rules rules;
    rules.window = 500;
    rules.slopes = {0.01f, 0, 0.02f, 0, 0.01f, -0.001f};
    const AttentionParams params = params_of(device, shape, rules);
    struct Of {
      std::size_t shared, tokens, rows;  // blocks of the prefix, tokens in all, query rows
    };
    std::vector<std::unique_ptr<Cache>> caches;
    std::vector<AttentionSequence> sequences;
    std::vector<std::vector<KvRun>> runs;
    std::size_t rows = 0;
    for (const auto& [shared, tokens, count] : {Of{0, 700, 1}, Of{14, 700, 1}, Of{14, 680, 3}, Of{11, 600, 1},
                                                Of{14, 690, 7}, Of{0, 700, 1}, Of{13, 640, 2}}) {
      auto& cache = *caches.emplace_back(std::make_unique<Cache>(device, kv, tokens));
      append(device, cache, random_floats(tokens * 48, caches.size()), random_floats(tokens * 80, 50 + caches.size()),
             0, tokens);
      std::copy_n(caches.front()->blocks.begin(), shared, cache.blocks.begin());
      // One of them has its tokens in two runs.
      const std::uint64_t cut = caches.size() == 4 ? 256 : 0;
      runs.push_back({KvRun{cache.blocks, cut, tokens, static_cast<std::int64_t>(cut)}});
      if (cut > 0) runs.back().insert(runs.back().begin(), KvRun{cache.blocks, 0, cut, 0});
      AttentionSequence sequence;
      sequence.row_begin = rows, sequence.row_count = count;
      sequence.first_position = static_cast<std::int64_t>(tokens - count);
      sequences.push_back(sequence);
      rows += count;
    }
    for (std::size_t i = 0; i < sequences.size(); ++i) sequences[i].runs = runs[i];
    const DeviceTensor q = device.tensor(random_floats(rows * 144, 3), rows), together = device.zeros(rows, 240),
                       alone = device.zeros(rows, 240);
    device.backend->attention(*device.stream, kv, params, together, q, sequences);
    for (const AttentionSequence& sequence : sequences)
      device.backend->attention(*device.stream, kv, params, alone, q, {&sequence, 1});
    const Floats got = device.read(together);
    EXPECT_TRUE(same_bits(got, device.read(alone))) << kv_codec_name(codec);
    EXPECT_GT(std::ranges::count_if(got, [](float x) { return x != 0; }), rows * 239);
  }
}

// Distant keys from before RoPE beside a window: with queries of their own, and no mass for them.
TEST_P(AttentionTest, FarRunsAreAskedWithTheirOwnQueries) {
  Device device(GetParam());
  const Shape4 shape{4, 2, 16, 24, 8};
  const KvLayout kv{KvCodec::kF32, 2, 16, 24, 8};
  const std::size_t tokens = 600, rows = 37, first = tokens - rows, window = 300;
  Cache near(device, kv, tokens), far(device, kv, tokens);
  append(device, near, random_floats(tokens * 32, 1), random_floats(tokens * 48, 2), 0, tokens);
  append(device, far, random_floats(tokens * 32, 3), random_floats(tokens * 48, 4), 0, tokens);
  const Floats q = random_floats(rows * 64, 5), far_q = random_floats(rows * 64, 6);
  // Far: slots 8..24 always, and all of 40..299 that are `window` away or more. Near: the window.
  KvRun runs[] = {{far.blocks, 8, 24, 0}, {far.blocks, 40, 300, 40}, {near.blocks, 200, 600, 200}};
  runs[0].far = runs[1].far = true;
  runs[1].lag = window, runs[2].window = window;
  Rules rules;
  rules.scale = 0.5f;
  for (const std::size_t chunk : {rows, std::size_t{1}, std::size_t{5}}) {
    const std::uint64_t stride = 411;
    const DeviceTensor mass = device.zeros(4, stride);
    Floats all;
    for (std::size_t from = 0; from < rows; from += chunk) {
      const std::size_t count = std::min(chunk, rows - from);
      AttentionSequence sequence;
      sequence.row_count = count, sequence.first_position = static_cast<std::int64_t>(first + from);
      sequence.runs = runs;
      sequence.mass = static_cast<float*>(mass.data), sequence.mass_stride = stride;
      AttentionParams params = params_of(device, shape, rules);
      const auto part = [&](const Floats& of) {
        const auto begin = of.begin() + static_cast<std::ptrdiff_t>(from * 64);
        return device.tensor(Floats(begin, begin + static_cast<std::ptrdiff_t>(count * 64)), count);
      };
      params.far_q = part(far_q);
      const DeviceTensor out = device.zeros(count, 96);
      device.backend->attention(*device.stream, kv, params, out, part(q), std::span(&sequence, 1));
      const Floats got = device.read(out);
      all.insert(all.end(), got.begin(), got.end());
    }
    std::vector<double> received(4 * stride);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t head = 0; head < 4; ++head) {
        const std::size_t own = first + row, kv_head = head / 2;
        double sum = 0;
        std::vector<double> value(24), weight(tokens);
        const auto see = [&](const Cache& cache, const Floats& queries, std::size_t slot) {
          double score = 0;
          for (std::size_t d = 0; d < 16; ++d)
            score += double{queries[row * 64 + head * 16 + d]} * cache.keys[slot * 32 + kv_head * 16 + d];
          const double p = std::exp(0.5 * score);
          sum += p;
          for (std::size_t d = 0; d < 24; ++d) value[d] += p * cache.values[slot * 48 + kv_head * 24 + d];
          return p;
        };
        for (std::size_t slot = 8; slot < 24; ++slot) see(far, far_q, slot);
        for (std::size_t slot = 40; slot < 300 && slot + window <= own; ++slot) see(far, far_q, slot);
        for (std::size_t slot = std::max<std::size_t>(200, own + 1 - window); slot <= own; ++slot)
          weight[slot] = see(near, q, slot);
        for (std::size_t slot = 200; slot < tokens; ++slot) received[head * stride + slot - 200] += weight[slot] / sum;
        for (std::size_t d = 0; d < 24; ++d)
          ASSERT_NEAR(all[row * 96 + head * 24 + d], value[d] / sum, 1e-5) << "row " << row << ", passes of " << chunk;
      }
    }
    const Floats seen = device.read(mass);
    for (std::size_t i = 0; i < received.size(); ++i) ASSERT_NEAR(seen[i], received[i], 1e-5) << i;
  }
}

TEST_P(AttentionTest, NothingVisibleGivesZeros) {
  Device device(GetParam());
  const KvLayout kv{KvCodec::kF16, 1, 8, 8, 16};
  Cache cache(device, kv, 4);
  append(device, cache, random_floats(32, 1), random_floats(32, 2), 0, 4);
  const KvRun run{cache.blocks, 0, 4, 50};  // all in the future
  AttentionSequence sequence;
  sequence.row_count = 1, sequence.first_position = 10, sequence.runs = std::span(&run, 1);
  AttentionParams params;
  params.n_heads = 1;
  const DeviceTensor out = device.tensor(Floats(8, 1.0f), 1);
  device.backend->attention(*device.stream, kv, params, out, device.tensor(random_floats(8, 3), 1),
                            std::span(&sequence, 1));
  EXPECT_EQ(device.read(out), Floats(8, 0.0f));
}

// A later token that overflowed must not reach the rows before it, nor differ between chunkings.
TEST_P(AttentionTest, FutureNanStaysInTheFuture) {
  Device device(GetParam());
  const KvLayout kv{KvCodec::kF16, 1, 16, 16, 16};
  const std::size_t tokens = 9;
  Cache cache(device, kv, tokens);
  Floats k = random_floats(tokens * 16, 1), v = random_floats(tokens * 16, 2);
  k[8 * 16 + 3] = NAN, v[8 * 16 + 1] = INFINITY;
  append(device, cache, k, v, 0, tokens);
  const KvRun run{cache.blocks, 0, tokens, 0};
  AttentionSequence sequence;
  sequence.row_count = tokens, sequence.runs = std::span(&run, 1);
  AttentionParams params;
  params.n_heads = 1;
  const DeviceTensor out = device.zeros(tokens, 16);
  device.backend->attention(*device.stream, kv, params, out, device.tensor(random_floats(tokens * 16, 3), tokens),
                            std::span(&sequence, 1));
  const Floats got = device.read(out);
  for (std::size_t i = 0; i < 8 * 16; ++i) ASSERT_TRUE(std::isfinite(got[i])) << i;
  EXPECT_TRUE(std::isnan(got[8 * 16]));
}

TEST(Attention, RejectsWhatDoesNotFit) {
  Device device("auto");
  const KvLayout kv{KvCodec::kF16, 2, 8, 8, 4};
  Cache cache(device, kv, 8);
  EXPECT_THROW(device.backend->kv_append(*device.stream, kv, cache.blocks, 7, device.zeros(2, 16), device.zeros(2, 16)),
               Error);
  EXPECT_THROW(device.backend->kv_append(*device.stream, kv, cache.blocks, 0, device.zeros(2, 15), device.zeros(2, 16)),
               Error);
  AttentionParams params;
  params.n_heads = 3;  // not a multiple of 2
  EXPECT_THROW(device.backend->attention(*device.stream, kv, params, device.zeros(1, 24), device.zeros(1, 24), {}),
               Error);
  params.n_heads = 4;
  const KvRun run{cache.blocks, 0, 9, 0};
  AttentionSequence sequence;
  sequence.row_count = 1, sequence.runs = std::span(&run, 1);
  EXPECT_THROW(device.backend->attention(*device.stream, kv, params, device.zeros(1, 32), device.zeros(1, 32),
                                         std::span(&sequence, 1)),
               Error);
}

TEST(Partials, MergeIsTheSoftmaxOfTheUnion) {
  const Floats scores = random_floats(12, 1, 30);  // far apart: a naive sum of exponentials would overflow
  const Floats values = random_floats(12, 2);
  double largest = -INFINITY, sum = 0, expected = 0;
  for (const float s : scores) largest = std::max(largest, double{s});
  for (std::size_t i = 0; i < 12; ++i)
    sum += std::exp(scores[i] - largest), expected += std::exp(scores[i] - largest) * values[i];
  cpu::Partial merged;
  float merged_value = 0;
  for (std::size_t i = 0; i < 12; ++i) {
    const cpu::Partial one{scores[i], 1};
    cpu::merge_partial(merged, &merged_value, one, &values[i], 1);
    const float garbage = NAN;
    cpu::merge_partial(merged, &merged_value, cpu::Partial(), &garbage, 1);  // an empty one changes nothing
  }
  float out = 0;
  cpu::finish_partial(merged, &merged_value, &out, 1);
  EXPECT_NEAR(out, expected / sum, 1e-6);
  EXPECT_NEAR(merged.max, largest, 0);
  cpu::finish_partial(cpu::Partial(), &merged_value, &out, 1);
  EXPECT_EQ(out, 0);
}

}  // namespace
}  // namespace lathe::kernels
