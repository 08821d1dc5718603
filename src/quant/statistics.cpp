#include "quant/statistics.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"

namespace lathe::quant {
namespace {

constexpr std::size_t kGramBlock = 256;  // columns

std::vector<float> over(const std::vector<double>& sums, std::uint64_t count) {
  std::vector<float> means(sums.size());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    means[i] = static_cast<float>(sums[i] / static_cast<double>(std::max<std::uint64_t>(1, count)));
  }
  return means;
}

}  // namespace

std::vector<float> InputStatistics::mean_abs() const { return over(sum_abs, tokens); }
std::vector<float> InputStatistics::mean_squares() const { return over(sum_squares, tokens); }

void InputStatistics::divide(const std::vector<float>& s) {
  const std::size_t n = columns();
  magnitudes = {};
  for (std::size_t i = 0; i < n; ++i) {
    sum_abs[i] /= s[i];
    sum_squares[i] /= static_cast<double>(s[i]) * s[i];
    largest[i] /= s[i];
    for (std::size_t j = 0; !gram.empty() && j < n; ++j) gram[i * n + j] /= s[i] * s[j];
    for (std::size_t at = i; at < sample.size(); at += n) sample[at] /= s[i];
  }
}

void InputStatistics::add(const InputStatistics& other) {
  tokens += other.tokens;
  for (std::size_t i = 0; i < columns(); ++i) {
    sum_abs[i] += other.sum_abs[i];
    sum_squares[i] += other.sum_squares[i];
    largest[i] = std::max(largest[i], other.largest[i]);
  }
  magnitudes.add(other.magnitudes);
  gram.resize(std::max(gram.size(), other.gram.size()));
  for (std::size_t i = 0; i < other.gram.size(); ++i) gram[i] += other.gram[i];
}

void StatisticsHooks::on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                                      kernels::Stream& stream) {
  const bool grouped = op.kind == arch::OpKind::kGroupedLinear;
  if (op.layer != layer_ || x.rows == 0 || (grouped && op.choice == arch::kNoSlot)) return;
  backend_ = &backend, stream_ = &stream;
  const std::size_t n = x.cols;
  Inputs& inputs = inputs_[op.linears.front().weight];
  if (inputs.entries.empty()) {
    inputs.columns = n, inputs.grouped = grouped;
    inputs.entries.resize(grouped ? op.linears.front().matrices : 1);
    for (const arch::LinearUse& use : op.linears) inputs.linears.push_back(use.weight);
  }
  std::vector<float> values(x.rows * n);
  for (std::size_t r = 0; r < x.rows; ++r) {
    backend.download(stream, values.data() + r * n, x.slice_rows(r, 1).data, n * sizeof(float));
  }
  if (!grouped) return add(inputs.entries.front(), values, n, backend, stream);
  for (std::size_t r = 0; r < x.rows; ++r) inputs.sample.add(std::span(values).subspan(r * n, n));
  const std::vector<std::int32_t>& choice = choices_.at(op.choice);
  const std::size_t per_row = choice.size() / x.rows;  // 1 where every row is one expert's already
  std::vector<std::vector<float>> of_expert(inputs.entries.size());
  for (std::size_t i = 0; i < choice.size(); ++i) {
    std::vector<float>& own = of_expert[static_cast<std::size_t>(choice[i])];
    const float* row = values.data() + i / per_row * n;
    own.insert(own.end(), row, row + n);
  }
  for (std::size_t expert = 0; expert < of_expert.size(); ++expert) {
    if (!of_expert[expert].empty()) add(inputs.entries[expert], of_expert[expert], n, backend, stream);
  }
}

void StatisticsHooks::on_router(const arch::Op& op, kernels::DeviceTensor, kernels::DeviceTensor experts,
                                kernels::DeviceTensor, kernels::Backend& backend, kernels::Stream& stream) {
  if (op.layer != layer_) return;
  std::vector<std::int32_t>& choice = choices_[op.choice];
  choice.resize(experts.rows * experts.cols);
  for (std::size_t r = 0; r < experts.rows; ++r) {
    backend.download(stream, choice.data() + r * experts.cols, experts.slice_rows(r, 1).data,
                     experts.cols * sizeof(std::int32_t));
  }
}

void StatisticsHooks::add(Entry& entry, std::span<const float> x, std::size_t n, kernels::Backend& backend,
                          kernels::Stream& stream) {
  const std::size_t rows = x.size() / n;
  if (entry.statistics == nullptr) entry.statistics = std::make_shared<InputStatistics>(n);
  InputStatistics& s = *entry.statistics;
  std::vector<float> columns(gram_ ? n * rows : 0);  // [n, rows]
  for (std::size_t r = 0; r < rows; ++r) {
    const std::span<const float> row = x.subspan(r * n, n);
    for (std::size_t i = 0; i < n; ++i) {
      const float magnitude = std::abs(row[i]);
      s.sum_abs[i] += magnitude;
      s.sum_squares[i] += static_cast<double>(magnitude) * magnitude;
      s.largest[i] = std::max(s.largest[i], magnitude);
      s.magnitudes.add(magnitude);
    }
    entry.sample.add(row);
    for (std::size_t i = 0; gram_ && i < n; ++i) columns[i * rows + r] = row[i];
  }
  s.tokens += rows;
  if (gram_) add_gram(entry, columns, n, rows, backend, stream);
}

// The columns times each other, as linear layers of the backend: a block of columns, [block, rows], times itself and
// the columns before it. What lies below the diagonal is the same, and is filled in at the end (finish).
void StatisticsHooks::add_gram(Entry& entry, const std::vector<float>& columns, std::size_t n, std::size_t rows,
                               kernels::Backend& backend, kernels::Stream& stream) {
  if (entry.gram.bytes == 0) entry.gram = backend.allocate(n * n * sizeof(float));
  const auto gram = kernels::DeviceTensor::dense(entry.gram.data(), n, n);
  const kernels::DeviceBuffer input = backend.upload_floats(stream, columns);
  const auto x = kernels::DeviceTensor::dense(input.data(), n, rows);
  for (std::size_t first = 0; first < n; first += kGramBlock) {
    const std::size_t count = std::min(kGramBlock, n - first), last = first + count;
    Linear linear;
    linear.weight =
        packed_blocks("calibration", codec_named("F32"), Shape{count, rows},
                      Bytes(std::as_bytes(std::span(columns).subspan(first * rows, count * rows)), "calibration"));
    const auto weight = backend.prepare(linear);
    const kernels::LinearCall call{weight.get(), gram.slice_rows(0, last).slice_cols(first, count), true};
    const auto start = std::chrono::steady_clock::now();
    backend.linear(stream, x.slice_rows(0, last), std::span(&call, 1));
    backend.synchronize(stream);
    gram_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
}

std::shared_ptr<InputStatistics> StatisticsHooks::finish(Entry& entry, const std::string& linear) {
  InputStatistics& s = *entry.statistics;
  for (std::size_t i = 0; i < s.columns(); ++i) {
    if (!std::isfinite(s.sum_squares[i])) {
      throw Error(fmt::format("column {} of its input is not finite on the calibration text", i),
                  fmt::format("layer \"{}\"", linear), "check the model with lathe perplexity");
    }
  }
  s.sample = entry.sample.take();
  if (entry.gram.bytes > 0) {
    s.gram.resize(s.columns() * s.columns());
    backend_->download(*stream_, s.gram.data(), entry.gram.data(), entry.gram.bytes);
    entry.gram = {};
    const std::size_t n = s.columns();
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i + 1; j < n; ++j) s.gram[j * n + i] = s.gram[i * n + j];
    }
  }
  return std::move(entry.statistics);
}

std::vector<std::shared_ptr<InputStatistics>> StatisticsHooks::finish_experts(Inputs& inputs) {
  std::vector<std::shared_ptr<InputStatistics>> own;
  bool scarce = false;
  for (std::size_t expert = 0; expert < inputs.entries.size(); ++expert) {
    Entry& entry = inputs.entries[expert];
    own.push_back(entry.statistics == nullptr ? nullptr
                                              : finish(entry, fmt::format("{}.{}", inputs.linears.front(), expert)));
    if (own.back() != nullptr && own.back()->tokens >= least_expert_tokens(inputs.columns)) continue;
    scarce = true;
    scarce_.insert(expert);
  }
  experts_ = own.size();
  if (!scarce) return own;
  const auto all = std::make_shared<InputStatistics>(inputs.columns);
  for (const auto& statistics : own) {
    if (statistics != nullptr) all->add(*statistics);
  }
  all->sample = inputs.sample.take();
  all->experts = static_cast<std::uint32_t>(own.size());
  for (auto& statistics : own) {
    if (statistics == nullptr || statistics->tokens < least_expert_tokens(inputs.columns)) statistics = all;
  }
  return own;
}

std::map<std::string, std::shared_ptr<InputStatistics>> StatisticsHooks::take() {
  std::map<std::string, std::shared_ptr<InputStatistics>> by_linear;
  for (auto& [name, inputs] : inputs_) {
    if (!inputs.grouped) {
      const auto statistics = finish(inputs.entries.front(), name);
      for (const std::string& linear : inputs.linears) by_linear[linear] = statistics;
      continue;
    }
    const auto of_expert = finish_experts(inputs);
    for (std::size_t expert = 0; expert < of_expert.size(); ++expert) {
      for (const std::string& linear : inputs.linears)
        by_linear[fmt::format("{}.{}", linear, expert)] = of_expert[expert];
    }
  }
  inputs_.clear();
  return by_linear;
}

}  // namespace lathe::quant
