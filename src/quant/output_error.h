// How much changes of a weight's columns change its outputs on the calibration text: e^T G e for a row e of changes and
// the sum G of x x^T, which is the sum of the squared differences over all tokens.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "quant/statistics.h"

namespace lathe::quant {

// For changes of columns [begin, end) alone, up to most_rows rows at a time.
class OutputError {
 public:
  OutputError(const InputStatistics& input, std::size_t begin, std::size_t end, std::size_t most_rows,
              kernels::Backend& backend, ThreadPool& pool);

  // errors[r] = e^T G e for each row e of changes [errors.size(), end - begin].
  void measure(std::span<const float> changes, std::span<double> errors);

 private:
  // G is symmetric: columns [begin, end) of its rows [begin, end), and twice the columns to the left of them.
  struct Block {
    std::size_t begin, end;
    std::shared_ptr<const kernels::PreparedLinear> gram;  // [end - begin, end]
  };

  std::size_t columns_;
  kernels::Backend& backend_;
  ThreadPool& pool_;
  std::unique_ptr<kernels::Stream> stream_;
  std::vector<Block> blocks_;
  kernels::DeviceBuffer changes_, products_;
  std::vector<float> downloaded_;
};

}  // namespace lathe::quant
