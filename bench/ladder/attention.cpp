// Attention of the last rows of a text to everything before them and to each other: 32 query heads over 8 heads of
// keys and values kept as halves. One row is what decoding has, where the cache is read from memory (copies are used in
// turn). With narrow heads, it is mostly softmax, which never stands alone in Lathe.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/half.h"
#include "kernels/backend.h"
#include "ladder/ladder.h"

namespace lathe::kernels::ladder {
namespace {

constexpr std::size_t kHeads = 32, kKvHeads = 8, kShare = kHeads / kKvHeads;

struct Problem {
  std::size_t rows, tokens, width;
  float scale;
  std::vector<float> k, q;                     // [tokens][kKvHeads][width], [rows][kHeads][width]
  std::vector<std::vector<std::uint16_t>> kv;  // copies of k as halves: keys and values are two of them

  std::size_t kv_row() const { return kKvHeads * width; }
  std::size_t q_row() const { return kHeads * width; }
  const std::uint16_t* keys(std::size_t call) const { return kv[2 * call % kv.size()].data(); }
  const std::uint16_t* values(std::size_t call) const { return kv[(2 * call + 1) % kv.size()].data(); }
  std::size_t visible(std::size_t row) const { return tokens - rows + row + 1; }  // tokens that a row sees
};

Problem make_problem(std::size_t rows, std::size_t tokens, std::size_t width) {
  Problem p{rows,
            tokens,
            width,
            1 / std::sqrt(static_cast<float>(width)),
            random_floats(tokens * kKvHeads * width, 3),
            random_floats(rows * kHeads * width, 4),
            {}};
  p.kv.resize(rows == 1 ? 16 : 2);
  for (auto& one : p.kv) {
    one.resize(p.k.size());
    std::transform(p.k.begin(), p.k.end(), one.begin(), half_from_float);
  }
  return p;
}

// A backend with the cache as it keeps it.
class Device {
 public:
  Device(const Problem& p, const std::string& kernel, int threads)
      : p_(p),
        backend_(make_cpu_backend({.threads = threads, .kernel = kernel})),
        layout_{KvCodec::kF16, kKvHeads, static_cast<std::uint32_t>(p.width), static_cast<std::uint32_t>(p.width), 64},
        blocks_(p.kv.size() / 2) {
    params_.n_heads = kHeads, params_.scale = p.scale;
    q_ = backend_->upload_floats(*stream_, p.q);
    out_ = backend_->allocate(p.q.size() * sizeof(float));
    const DeviceBuffer rows = backend_->upload_floats(*stream_, p.k);
    const DeviceTensor all = DeviceTensor::dense(rows.data(), p.tokens, p.kv_row());
    for (auto& copy : blocks_) {
      for (std::size_t t = 0; t < p.tokens; t += layout_.block_tokens) {
        buffers_.push_back(backend_->allocate(backend_->kv_block_bytes(layout_)));
        copy.push_back(buffers_.back().data());
      }
      backend_->kv_append(*stream_, layout_, copy, 0, all, all);
    }
  }
  void attend(std::size_t call) {
    const KvRun run{blocks_[call % blocks_.size()], 0, p_.tokens, 0};
    AttentionSequence sequence;
    sequence.row_count = p_.rows, sequence.first_position = static_cast<std::int64_t>(p_.tokens - p_.rows),
    sequence.runs = std::span(&run, 1);
    backend_->attention(*stream_, layout_, params_, DeviceTensor::dense(out_.data(), p_.rows, p_.q_row()),
                        DeviceTensor::dense(q_.data(), p_.rows, p_.q_row()), std::span(&sequence, 1));
  }
  void fetch(std::vector<float>& result) {
    backend_->download(*stream_, result.data(), out_.data(), result.size() * sizeof(float));
  }

 private:
  const Problem& p_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_ = backend_->make_stream();
  KvLayout layout_;
  AttentionParams params_;
  DeviceBuffer q_, out_;
  std::vector<DeviceBuffer> buffers_;
  std::vector<std::vector<void*>> blocks_;
};

std::vector<float> reference(const Problem& p) {
  Device device(p, "scalar", 0);
  device.attend(0);
  std::vector<float> out(p.q.size());
  device.fetch(out);
  return out;
}

// exp(score - the largest) in place; returns their sum.
float exponentials(std::vector<float>& scores, std::size_t n) {
  const float largest = *std::max_element(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(n));
  float total = 0;
  for (std::size_t t = 0; t < n; ++t) total += scores[t] = std::exp(scores[t] - largest);
  return total;
}

// Row by row and head by head; halves become floats each time that they are used.
template <class Dot>
void head_by_head(const Problem& p, std::size_t call, std::vector<float>& out, Dot dot) {
  std::vector<float> scores(p.tokens), key(p.width);
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t head = 0; head < kHeads; ++head) {
      const float* q = &p.q[r * p.q_row() + head * p.width];
      float* sum = &out[r * p.q_row() + head * p.width];
      const std::size_t at = head / kShare * p.width, n = p.visible(r);
      for (std::size_t t = 0; t < n; ++t) {
        std::transform(p.keys(call) + t * p.kv_row() + at, p.keys(call) + t * p.kv_row() + at + p.width, key.begin(),
                       float_from_half);
        scores[t] = p.scale * dot(q, key.data(), p.width);
      }
      const float total = exponentials(scores, n);
      std::fill_n(sum, p.width, 0.0f);
      for (std::size_t t = 0; t < n; ++t) {
        const std::uint16_t* value = p.values(call) + t * p.kv_row() + at;
        for (std::size_t i = 0; i < p.width; ++i) sum[i] += scores[t] * float_from_half(value[i]);
      }
      for (std::size_t i = 0; i < p.width; ++i) sum[i] /= total;
    }
  }
}

// [tokens][width] of one head as floats, from token `first` on.
void decode_head(const Problem& p, const std::uint16_t* from, std::size_t kv_head, std::size_t first,
                 std::size_t tokens, std::vector<float>& to) {
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::uint16_t* row = from + (first + t) * p.kv_row() + kv_head * p.width;
    std::transform(row, row + p.width, &to[t * p.width], float_from_half);
  }
}

// A head's keys and values become floats once for all rows and query heads.
void decoded_once(const Problem& p, std::size_t call, std::vector<float>& out) {
  std::vector<float> scores(p.tokens), keys(p.tokens * p.width), values(keys.size());
  for (std::size_t head = 0; head < kHeads; ++head) {
    if (head % kShare == 0) {
      decode_head(p, p.keys(call), head / kShare, 0, p.tokens, keys);
      decode_head(p, p.values(call), head / kShare, 0, p.tokens, values);
    }
    for (std::size_t r = 0; r < p.rows; ++r) {
      const float* q = &p.q[r * p.q_row() + head * p.width];
      float* sum = &out[r * p.q_row() + head * p.width];
      const std::size_t n = p.visible(r);
      for (std::size_t t = 0; t < n; ++t) scores[t] = p.scale * lanes_dot(q, &keys[t * p.width], p.width);
      const float total = exponentials(scores, n);
      std::fill_n(sum, p.width, 0.0f);
      for (std::size_t t = 0; t < n; ++t) {
        for (std::size_t i = 0; i < p.width; ++i) sum[i] += scores[t] * values[t * p.width + i];
      }
      for (std::size_t i = 0; i < p.width; ++i) sum[i] /= total;
    }
  }
}

// A few tokens at a time, which stay in the cache while every row and query head passes, with a running maximum (Dao et
// al. 2022, algorithm 1).
void online(const Problem& p, std::size_t call, std::vector<float>& out) {
  constexpr std::size_t kTokens = 32;
  std::vector<float> scores(kTokens), keys(kTokens * p.width), values(keys.size());
  std::vector<float> largest(p.rows * kHeads, -INFINITY), totals(p.rows * kHeads);
  std::fill(out.begin(), out.end(), 0.0f);
  for (std::size_t kv_head = 0; kv_head < kKvHeads; ++kv_head) {
    for (std::size_t first = 0; first < p.tokens; first += kTokens) {
      const std::size_t tokens = std::min(kTokens, p.tokens - first);
      decode_head(p, p.keys(call), kv_head, first, tokens, keys);
      decode_head(p, p.values(call), kv_head, first, tokens, values);
      for (std::size_t i = 0; i < p.rows * kShare; ++i) {
        const std::size_t r = i / kShare, row_head = r * kHeads + kv_head * kShare + i % kShare;
        if (p.visible(r) <= first) continue;
        const std::size_t n = std::min(tokens, p.visible(r) - first);
        float *sum = &out[row_head * p.width], &most = largest[row_head], &total = totals[row_head];
        const float before = most;
        for (std::size_t t = 0; t < n; ++t) {
          scores[t] = p.scale * lanes_dot(&p.q[row_head * p.width], &keys[t * p.width], p.width);
          most = std::max(most, scores[t]);
        }
        const float shrink = std::exp(before - most);
        total *= shrink;
        for (std::size_t d = 0; d < p.width; ++d) sum[d] *= shrink;
        for (std::size_t t = 0; t < n; ++t) {
          const float weight = std::exp(scores[t] - most);
          total += weight;
          for (std::size_t d = 0; d < p.width; ++d) sum[d] += weight * values[t * p.width + d];
        }
      }
    }
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] /= totals[i / p.width];
}

}  // namespace

void attention_ladder(const Options& options, std::size_t rows, std::size_t tokens, std::size_t head_width) {
  const std::string title = fmt::format("attention, {} tokens cached as halves, heads of {}, {} {}", tokens, head_width,
                                        rows, rows == 1 ? "row" : "rows");
  if (!options.wants(title)) return;
  const Problem p = make_problem(rows, tokens, head_width);
  double pairs = 0;
  for (std::size_t r = 0; r < rows; ++r) pairs += static_cast<double>(p.visible(r));
  Ladder ladder(options, title,
                {4.0 * static_cast<double>(p.k.size()), 4 * pairs * static_cast<double>(kHeads * head_width)},
                reference(p));
  std::vector<float>& out = ladder.result();
  ladder.rung("scores, softmax, sums; head by head", kExact,
              [&](std::size_t call) { head_by_head(p, call, out, plain_dot); });
  ladder.rung("sixteen sums", kExact, [&](std::size_t call) { head_by_head(p, call, out, lanes_dot); });
  ladder.rung("halves to floats once", kExact, [&](std::size_t call) { decoded_once(p, call, out); });
  ladder.rung("32 tokens at a time, softmax as they come", kExact, [&](std::size_t call) { online(p, call, out); });
  for (const std::string& set : kernel_sets()) {
    const std::string name = fmt::format("Lathe's kernel, {}", set);
    if (!options.wants_rung(name)) continue;
    Device device(p, set, 1);
    ladder.rung(
        name, kExact, [&](std::size_t call) { device.attend(call); }, [&] { device.fetch(out); });
  }
}

}  // namespace lathe::kernels::ladder
