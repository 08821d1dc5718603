#include "quant/output_error.h"

#include <algorithm>

namespace lathe::quant {
namespace {

constexpr std::size_t kGramBlock = 512;  // columns

}  // namespace

OutputError::OutputError(const InputStatistics& input, std::size_t begin, std::size_t end, std::size_t most_rows,
                         kernels::Backend& backend, ThreadPool& pool)
    : columns_(end - begin),
      backend_(backend),
      pool_(pool),
      stream_(backend.make_stream()),
      changes_(backend.allocate(most_rows * columns_ * sizeof(float))),
      products_(backend.allocate(most_rows * std::min(kGramBlock, columns_) * sizeof(float))),
      downloaded_(products_.bytes / sizeof(float)) {
  const std::size_t n = input.columns();
  for (std::size_t first = 0; first < columns_; first += kGramBlock) {
    Block block{first, std::min(columns_, first + kGramBlock), nullptr};
    auto values = std::make_shared<std::vector<float>>((block.end - first) * block.end);
    float* out = values->data();
    for (std::size_t row = first; row < block.end; ++row) {
      const float* gram = input.gram.data() + (begin + row) * n + begin;
      for (std::size_t c = 0; c < block.end; ++c) *out++ = c < first ? 2 * gram[c] : gram[c];
    }
    Linear linear;
    linear.weight = packed_blocks("calibration", codec_named("F32"), Shape{block.end - first, block.end},
                                  Bytes(std::as_bytes(std::span(*values)), "calibration", values));
    block.gram = backend.prepare(linear);
    blocks_.push_back(std::move(block));
  }
}

void OutputError::measure(std::span<const float> changes, std::span<double> errors) {
  const std::size_t rows = errors.size();
  std::fill(errors.begin(), errors.end(), 0.0);
  backend_.upload(*stream_, changes_.data(), changes.data(), rows * columns_ * sizeof(float));
  for (const Block& block : blocks_) {
    const std::size_t width = block.end - block.begin;
    const auto x = kernels::DeviceTensor::dense(changes_.data(), rows, columns_).slice_cols(0, block.end);
    const kernels::LinearCall call{block.gram.get(), kernels::DeviceTensor::dense(products_.data(), rows, width)};
    backend_.linear(*stream_, x, std::span(&call, 1));
    backend_.download(*stream_, downloaded_.data(), products_.data(), rows * width * sizeof(float));
    pool_.parallel_for(rows, 16, [&](std::size_t from, std::size_t to, int) {
      for (std::size_t r = from; r < to; ++r) {
        const float *e = changes.data() + r * columns_ + block.begin, *product = downloaded_.data() + r * width;
        double sum = 0;
        for (std::size_t c = 0; c < width; ++c) sum += static_cast<double>(e[c]) * product[c];
        errors[r] += sum;
      }
    });
  }
}

}  // namespace lathe::quant
