// What calibration sees of a linear layer's input, gathered through model::ForwardHooks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "model/hooks.h"
#include "quant/magnitudes.h"
#include "quant/token_sample.h"

namespace lathe::quant {

// Over all calibration tokens; n is the number of columns of the input.
struct InputStatistics {
  std::uint64_t tokens = 0;
  std::vector<double> sum_abs, sum_squares;  // [n]
  std::vector<float> largest;                // [n], magnitudes
  Magnitudes magnitudes;                     // of all values of all columns
  std::vector<float> gram;                   // [n, n], sum of x x^T; empty unless it was asked for
  std::vector<float> sample;                 // [tokens kept, n], some of the inputs themselves (token_sample.h)

  std::size_t columns() const { return largest.size(); }
  std::vector<float> mean_abs() const;
  std::vector<float> mean_squares() const;
  // As if every column had been divided by s; `magnitudes`, which do not know columns, are emptied.
  void divide(const std::vector<float>& s);
};

// Statistics of the inputs of one layer's linear operations while text runs through it. Linears that read the same
// input share one entry.
class StatisticsHooks final : public model::ForwardHooks {
 public:
  // `gram`: also the products of all pairs of columns, which methods of second order need.
  StatisticsHooks(int layer, bool gram) : layer_(layer), gram_(gram) {}
  void on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override;
  // By linear weight, without ".weight". Throws an Error naming the layer when an input was not finite.
  std::map<std::string, std::shared_ptr<InputStatistics>> take();
  // What the products of columns with each other took so far: 2 n^2 operations for a token of n columns.
  double gram_seconds() const { return gram_seconds_; }

 private:
  struct Entry {
    std::shared_ptr<InputStatistics> statistics;
    kernels::DeviceBuffer gram;
    TokenSample sample;
  };
  void add_gram(Entry& entry, const std::vector<float>& columns, std::size_t n, std::size_t rows,
                kernels::Backend& backend, kernels::Stream& stream);

  int layer_;
  bool gram_;
  std::map<std::string, Entry> entries_;         // by the first linear of an operation
  std::map<std::string, std::string> first_of_;  // any linear to the first of its operation
  double gram_seconds_ = 0;
  kernels::Backend* backend_ = nullptr;
  kernels::Stream* stream_ = nullptr;
};

}  // namespace lathe::quant
