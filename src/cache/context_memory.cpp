#include "cache/context_memory.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"

namespace lathe::cache {
namespace {

float dot(const float* a, const float* b, std::size_t size) {
  float lanes[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < size; ++i) lanes[0] += a[i] * b[i];
  return std::accumulate(std::begin(lanes), std::end(lanes), 0.0f);
}

// The `count` numbers below scores.size() whose scores are largest, the smaller number on a tie; in ascending order.
std::vector<std::uint32_t> best_of(std::span<const float> scores, std::size_t count) {
  std::vector<std::uint32_t> all(scores.size());
  std::iota(all.begin(), all.end(), 0);
  count = std::min(count, all.size());
  std::nth_element(
      all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(),
      [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); });
  all.resize(count);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

void require_whole_blocks(const MemoryOptions& options, std::uint64_t block_tokens) {
  if (options.sinks % block_tokens == 0 && options.block % block_tokens == 0) return;
  throw UsageError(fmt::format("a memory of {} first tokens and blocks of {} does not divide into cache blocks of {}",
                               options.sinks, options.block, block_tokens),
                   "KV policy");
}

ContextMemory::ContextMemory(BlockPool& pool, const MemoryOptions& options)
    : pool_(pool),
      options_(options),
      tokens_(pool, full_policy()),
      layers_(pool.n_layers()),
      columns_(2 * (options.window + options.block) + options.step) {
  require_whole_blocks(options, pool.layout().block_tokens);
}

void ContextMemory::reserve(kernels::Stream& stream, std::uint64_t count) {
  if (count > options_.step)
    fail("KV policy", "{} tokens in one pass, the memory takes at most {}", count, options_.step);
  tokens_.reserve(stream, count);
}

void ContextMemory::append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                           kernels::DeviceTensor v) {
  tokens_.append(stream, layer, k, v);
}

void ContextMemory::choose(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q) {
  Layer& memory = layers_[layer];
  n_heads_ = static_cast<std::uint32_t>(far_q.cols / pool_.layout().k_dim);
  if (memory.mass.data() == nullptr)
    memory.mass = pool_.backend().allocate(std::uint64_t{n_heads_} * columns_ * sizeof(float));

  std::vector<float> scores(size_, 0.0f);
  if (size_ > options_.shown) {
    if (options_.choice == MemoryChoice::kBest) {
      std::vector<float> rows(far_q.rows * far_q.cols), mean(far_q.cols, 0.0f);
      pool_.backend().download(stream, rows.data(), far_q.data, rows.size() * sizeof(float));
      for (std::size_t i = 0; i < rows.size(); ++i) mean[i % far_q.cols] += rows[i];
      for (std::size_t i = 0; i < size_; ++i)
        scores[i] = dot(mean.data(), memory.known_by.data() + i * far_q.cols, far_q.cols);
    } else if (options_.choice == MemoryChoice::kLatest) {
      std::iota(scores.begin(), scores.end(), 0.0f);
    } else {
      std::mt19937 random(static_cast<std::uint32_t>(tokens_.length() * 64 + layer));
      for (float& score : scores) score = static_cast<float>(random());
    }
  }
  memory.chosen = best_of(scores, options_.shown);
  keep(layer, memory.chosen);
  memory.addresses.clear();
  for (const std::uint32_t index : memory.chosen) {
    const auto blocks = addresses(layer, index);
    memory.addresses.insert(memory.addresses.end(), blocks.begin(), blocks.end());
  }
}

std::span<void* const> ContextMemory::addresses(std::uint32_t layer, std::uint32_t index) const {
  const std::uint64_t unit = pool_.layout().block_tokens;
  return tokens_.addresses(layer).subspan(first_token(index) / unit, options_.block / unit);
}

// These blocks are read now; of a layer's others the least recently shown leave memory, beyond those it may keep there
// (InfLLM's cache of blocks, by recency).
void ContextMemory::keep(std::uint32_t layer, std::span<const std::uint32_t> blocks) {
  std::vector<std::uint32_t>& resident = layers_[layer].resident;
  for (const std::uint32_t index : blocks) {
    std::erase(resident, index);
    resident.push_back(index);
  }
  while (resident.size() > options_.shown + options_.cached) {
    for (void* address : addresses(layer, resident.front())) pool_.page_out(address);
    resident.erase(resident.begin());
  }
}

void ContextMemory::add_runs(std::uint32_t layer, std::uint64_t count, std::vector<kernels::KvRun>& runs) const {
  const auto far_run = [&](std::span<void* const> blocks, std::uint64_t begin, std::uint64_t end) {
    kernels::KvRun& run = runs.emplace_back();
    run.blocks = blocks, run.begin = begin, run.end = end;
    run.first_position = static_cast<std::int64_t>(begin);
    run.far = true;
    return &run;
  };
  const Layer& memory = layers_[layer];
  // The chosen blocks are older than every window of the pass; where they were does not matter.
  if (!memory.chosen.empty()) far_run(memory.addresses, 0, memory.chosen.size() * options_.block);
  const std::uint64_t end = static_cast<std::uint64_t>(tokens_.length()) + count;
  if (end <= options_.window) return;
  // What the last of the queries no longer has in its window; the others see less of it.
  const std::uint64_t left = end - options_.window, unblocked = first_token(size_);
  const auto lag = static_cast<std::int64_t>(options_.window);
  const std::span<void* const> all = tokens_.addresses(layer);
  if (options_.sinks > 0) far_run(all, 0, std::min(options_.sinks, left))->lag = lag;
  if (left > unblocked) far_run(all, unblocked, left)->lag = lag;
}

model::SequenceState::Mass ContextMemory::mass(std::uint32_t layer, std::uint64_t recent) {
  return {static_cast<float*>(layers_[layer].mass.data()) + (recent - mass_begin_), columns_};
}

void ContextMemory::commit(kernels::Stream& stream, std::uint64_t count) {
  tokens_.commit(count);
  const auto length = static_cast<std::uint64_t>(tokens_.length());
  while (length >= first_token(size_ + 1) + options_.window) make_block(stream);
  if (length + options_.step - mass_begin_ > columns_) move_mass(stream);
}

void ContextMemory::make_block(kernels::Stream& stream) {
  for (std::uint32_t layer = 0; layer < layers_.size(); ++layer) {
    if (layers_[layer].mass.data() != nullptr) know(stream, layer);
    const auto index = static_cast<std::uint32_t>(size_);
    keep(layer, {&index, 1});
  }
  ++size_;
}

// The vector of the block that begins with the first token outside of all others: for each head the mean key of those
// of its tokens that have received most.
void ContextMemory::know(kernels::Stream& stream, std::uint32_t index) {
  Layer& layer = layers_[index];
  const kernels::KvLayout& layout = pool_.layout();
  const std::uint64_t first = first_token(size_), width = std::uint64_t{layout.n_kv_heads} * layout.k_dim;
  const kernels::DeviceBuffer buffer = pool_.backend().allocate(options_.block * width * sizeof(float));
  pool_.backend().kv_keys(stream, layout, tokens_.addresses(index), first,
                          kernels::DeviceTensor::dense(buffer.data(), options_.block, width));
  std::vector<float> keys(options_.block * width), received(options_.block);
  pool_.backend().download(stream, keys.data(), buffer.data(), keys.size() * sizeof(float));
  const std::size_t at = layer.known_by.size();
  layer.known_by.resize(at + std::size_t{n_heads_} * layout.k_dim, 0.0f);
  for (std::uint32_t head = 0; head < n_heads_; ++head) {
    const float* mass = static_cast<const float*>(layer.mass.data()) + head * columns_ + (first - mass_begin_);
    pool_.backend().download(stream, received.data(), mass, received.size() * sizeof(float));
    const std::vector<std::uint32_t> representative = best_of(received, options_.representatives);
    float* known_by = layer.known_by.data() + at + std::size_t{head} * layout.k_dim;
    const std::size_t kv_head = head / (n_heads_ / layout.n_kv_heads);
    for (const std::uint32_t token : representative) {
      const float* key = keys.data() + token * width + kv_head * layout.k_dim;
      for (std::uint32_t i = 0; i < layout.k_dim; ++i)
        known_by[i] += key[i] / static_cast<float>(representative.size());
    }
  }
}

// Forgets the columns of tokens that are in blocks.
void ContextMemory::move_mass(kernels::Stream& stream) {
  const auto length = static_cast<std::uint64_t>(tokens_.length());
  const std::uint64_t recent = length + 1 > options_.window ? length + 1 - options_.window : 0;
  const std::uint64_t begin = std::max(mass_begin_, std::min(recent, first_token(size_)));
  std::vector<float> row(columns_);
  for (Layer& layer : layers_) {
    if (layer.mass.data() == nullptr) continue;
    for (std::uint32_t head = 0; head < n_heads_; ++head) {
      float* device = static_cast<float*>(layer.mass.data()) + head * columns_;
      pool_.backend().download(stream, row.data(), device, row.size() * sizeof(float));
      const auto kept =
          std::move(row.begin() + static_cast<std::ptrdiff_t>(begin - mass_begin_), row.end(), row.begin());
      std::fill(kept, row.end(), 0.0f);
      pool_.backend().upload(stream, device, row.data(), row.size() * sizeof(float));
    }
  }
  mass_begin_ = begin;
}

}  // namespace lathe::cache
