#include "quant/slim_widths.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/cancel.h"
#include "quant/column_walk.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/slim.h"
#include "tensor/codecs/slim_fit.h"

namespace lathe::quant {

std::vector<double> block_saliences(const std::vector<float>& weight, const Hessian& hessian,
                                    const CodecParams& params) {
  const std::size_t n = hessian.columns(), rows = weight.size() / n;
  const auto group = static_cast<std::size_t>(params.group_size);
  std::vector<double> sums(slim_whole_blocks(params, n));
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < sums.size() * group; ++c) {
      if (!hessian.dead[c]) sums[c / group] += salience_of(weight[row * n + c], hessian.pivot(c));
    }
  }
  return sums;
}

OutputDivergence::OutputDivergence(const std::vector<float>& weight, std::span<const float> importance,
                                   const CodecParams& params, std::span<const float> sample,
                                   std::vector<std::uint8_t> widths, ThreadPool& pool)
    : weight_(weight),
      importance_(importance),
      columns_(importance.size()),
      rows_(weight.size() / columns_),
      group_(static_cast<std::size_t>(params.group_size)),
      tokens_(sample.size() / columns_),
      widths_(std::move(widths)),
      pool_(pool) {
  const std::size_t strips = (tokens_ + kStripRows - 1) / kStripRows;
  inputs_.resize(strips * columns_ * kStripRows);
  for (std::size_t t = 0; t < tokens_; ++t) {
    float* strip = inputs_.data() + t / kStripRows * columns_ * kStripRows + t % kStripRows;
    for (std::size_t c = 0; c < columns_; ++c) strip[c * kStripRows] = sample[t * columns_ + c];
  }
  outputs_.resize(strips * rows_ * kStripRows);
  std::vector<float> negated(weight.size());
  std::transform(weight.begin(), weight.end(), negated.begin(), [](float w) { return -w; });
  for (std::size_t strip = 0; strip < strips; ++strip) {
    pool_.parallel_for(rows_, 16, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t row = begin; row < end; ++row) {
        subtract_errors(outputs_.data() + (strip * rows_ + row) * kStripRows, negated.data() + row * columns_,
                        inputs_.data() + strip * columns_ * kStripRows, columns_);
      }
    });
  }
  original_ = outputs_;
  for (std::size_t block = 0; block < widths_.size(); ++block) move(block, 0, widths_[block]);
}

void OutputDivergence::set_width(std::size_t block, std::uint8_t width) {
  if (widths_[block] == width) return;
  move(block, widths_[block], width);
  widths_[block] = width;
}

void OutputDivergence::move(std::size_t block, int from, int to) {
  const std::size_t first = block * group_, count = std::min(group_, columns_ - first);
  const std::size_t strips = inputs_.size() / (columns_ * kStripRows);
  pool_.parallel_for(rows_, 16, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> less(count);  // than before
    for (std::size_t row = begin; row < end; ++row) {
      const std::span<const float> x = std::span(weight_).subspan(row * columns_ + first, count);
      const auto add = [&](int width, float sign) {
        if (width == 0) {
          for (std::size_t i = 0; i < count; ++i) less[i] += sign * x[i];
          return;
        }
        const IntGrid grid = fit_slim_grid(x, importance_.subspan(first, count), width);
        for (std::size_t i = 0; i < count; ++i) less[i] += sign * grid.value(nearest_int_level(grid, x[i], width));
      };
      std::fill(less.begin(), less.end(), 0.0f);
      add(from, 1), add(to, -1);
      for (std::size_t strip = 0; strip < strips; ++strip) {
        subtract_errors(outputs_.data() + (strip * rows_ + row) * kStripRows, less.data(),
                        inputs_.data() + (strip * columns_ + first) * kStripRows, count);
      }
    }
  });
}

double OutputDivergence::mean() const {
  // Of one token: the logarithm of the sum of exponentials, over features kStripRows apart.
  const auto log_sum = [&](const float* logits) {
    float largest = -INFINITY;
    for (std::size_t row = 0; row < rows_; ++row) largest = std::max(largest, logits[row * kStripRows]);
    double sum = 0;
    for (std::size_t row = 0; row < rows_; ++row) sum += std::exp(logits[row * kStripRows] - largest);
    return largest + std::log(sum);
  };
  std::vector<double> divergence(tokens_);
  pool_.parallel_for(tokens_, 4, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t at = t / kStripRows * rows_ * kStripRows + t % kStripRows;
      const double q = log_sum(outputs_.data() + at), p = log_sum(original_.data() + at);
      for (std::size_t row = 0; row < rows_; ++row) {
        const double log_q = outputs_[at + row * kStripRows] - q, log_p = original_[at + row * kStripRows] - p;
        divergence[t] += std::exp(log_q) * (log_q - log_p);
      }
    }
  });
  double total = 0;
  for (const double token : divergence) total += token;
  return tokens_ == 0 ? 0 : total / static_cast<double>(tokens_);
}

std::vector<std::uint8_t> choose_widths(const std::vector<float>& weight, const Hessian& hessian,
                                        const CodecParams& params, std::span<const float> sample, ThreadPool& pool) {
  const std::vector<double> saliences = block_saliences(weight, hessian, params);
  const std::size_t blocks = saliences.size(), cols = hessian.columns();
  std::vector<std::size_t> order(blocks);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return saliences[a] < saliences[b]; });
  std::vector<std::uint8_t> even = slim_width_map(params, cols, order, 0);
  if (blocks < kLeastMixedBlocks || saliences[order.front()] == saliences[order.back()]) return even;

  OutputDivergence divergence(weight, hessian.diagonal, params, sample, even, pool);
  double least = divergence.mean();
  std::size_t best = 0;
  for (std::size_t pairs = 1; pairs < blocks / 2; ++pairs) {
    interrupt_token().check();
    divergence.set_width(order[pairs - 1], static_cast<std::uint8_t>(params.bits - 1));
    divergence.set_width(order[blocks - pairs], static_cast<std::uint8_t>(params.bits + 1));
    const double loss = divergence.mean();
    if (loss < least) least = loss, best = pairs;
  }
  return slim_width_map(params, cols, order, best);
}

}  // namespace lathe::quant
