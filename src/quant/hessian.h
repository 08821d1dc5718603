// The sum of x x^T over calibration as methods of second order use it: damped, ordered, and factored.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quant/statistics.h"

namespace lathe::quant {

// What all linears of one input share. With H the damped sum of x x^T and H^-1 = V V^T (V lower triangular).
struct Hessian {
  std::vector<std::size_t> order;  // column that comes j-th
  std::vector<float> factor;       // V in that order, [n, n]
  std::vector<bool> dead;          // columns that are always zero, whose weights do not matter
  std::vector<float> diagonal;     // of H without damping, in the columns' own order
  float damping = 0;               // the share of the mean diagonal that was added to it

  std::size_t columns() const { return order.size(); }
  // V[j][j]: a squared error of the j-th column costs 1 / (this squared), once later columns have made up for it.
  float pivot(std::size_t j) const { return factor[j * columns() + j]; }
};

// `damping`: the share of the mean diagonal that is added to all of it, 0 or more; ten times as much is tried, up to
// three times and each time with a warning, where the inputs are too dependent for it. With act_order columns come in
// the order of falling diagonals. Throws an Error naming the weight of `linear` when that does not help.
Hessian factorise(const InputStatistics& input, float damping, bool act_order, const std::string& linear,
                  ThreadPool& pool);

}  // namespace lathe::quant
