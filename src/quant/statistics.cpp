#include "quant/statistics.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"

namespace lathe::quant {
namespace {

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

void StatisticsHooks::on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                                      kernels::Stream& stream) {
  if (op.layer != layer_) return;
  backend_ = &backend, stream_ = &stream;
  const std::size_t n = x.cols, rows = x.rows;
  Entry& entry = entries_[op.linears.front().weight];
  for (const arch::LinearUse& use : op.linears) first_of_[use.weight] = op.linears.front().weight;
  if (entry.statistics == nullptr) {
    entry.statistics = std::make_shared<InputStatistics>();
    entry.statistics->sum_abs.resize(n), entry.statistics->sum_squares.resize(n), entry.statistics->largest.resize(n);
  }
  InputStatistics& s = *entry.statistics;
  std::vector<float> row(n), columns(gram_ ? n * rows : 0);  // [n, rows]
  for (std::size_t r = 0; r < rows; ++r) {
    backend.download(stream, row.data(), x.slice_rows(r, 1).data, n * sizeof(float));
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

// The columns times each other, as a linear layer of the backend: [n, rows] times its own transpose.
void StatisticsHooks::add_gram(Entry& entry, const std::vector<float>& columns, std::size_t n, std::size_t rows,
                               kernels::Backend& backend, kernels::Stream& stream) {
  if (entry.gram.bytes == 0) entry.gram = backend.allocate(n * n * sizeof(float));
  Linear linear;
  linear.weight = packed_blocks("calibration", codec_named("F32"), Shape{n, rows},
                                Bytes(std::as_bytes(std::span(columns)), "calibration"));
  const auto weight = backend.prepare(linear);
  const kernels::DeviceBuffer input = backend.upload_floats(stream, columns);
  const kernels::LinearCall call{weight.get(), kernels::DeviceTensor::dense(entry.gram.data(), n, n), true};
  const auto start = std::chrono::steady_clock::now();
  backend.linear(stream, kernels::DeviceTensor::dense(input.data(), n, rows), std::span(&call, 1));
  backend.synchronize(stream);
  gram_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::map<std::string, std::shared_ptr<InputStatistics>> StatisticsHooks::take() {
  for (auto& [name, entry] : entries_) {
    InputStatistics& s = *entry.statistics;
    for (std::size_t i = 0; i < s.columns(); ++i) {
      if (!std::isfinite(s.sum_squares[i])) {
        throw Error(fmt::format("column {} of its input is not finite on the calibration text", i),
                    fmt::format("layer \"{}\"", name), "check the model with lathe perplexity");
      }
    }
    s.sample = entry.sample.take();
    if (entry.gram.bytes == 0) continue;
    s.gram.resize(s.columns() * s.columns());
    backend_->download(*stream_, s.gram.data(), entry.gram.data(), entry.gram.bytes);
    entry.gram = {};
  }
  std::map<std::string, std::shared_ptr<InputStatistics>> by_linear;
  for (const auto& [linear, first] : first_of_) by_linear[linear] = entries_.at(first).statistics;
  entries_.clear();
  return by_linear;
}

}  // namespace lathe::quant
