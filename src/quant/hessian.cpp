#include "quant/hessian.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "quant/cholesky.h"

namespace lathe::quant {
namespace {

constexpr float kMostDamping = 1.0f;

}  // namespace

Hessian factorise(const InputStatistics& input, float damping, bool act_order, const std::string& linear,
                  ThreadPool& pool) {
  const std::size_t n = input.columns();
  Hessian h;
  h.order.resize(n), h.dead.resize(n), h.diagonal.resize(n);
  std::iota(h.order.begin(), h.order.end(), std::size_t{0});
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) {
    h.diagonal[i] = input.gram[i * n + i];
    h.dead[i] = !(h.diagonal[i] > 0);
    mean += h.diagonal[i] / static_cast<double>(n);
  }
  if (act_order) {
    std::stable_sort(h.order.begin(), h.order.end(),
                     [&](std::size_t a, std::size_t b) { return h.diagonal[a] > h.diagonal[b]; });
  }
  std::vector<double> matrix(n * n);
  for (;; damping *= 10) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t row = h.order[i];
      for (std::size_t j = 0; j <= i; ++j) matrix[i * n + j] = input.gram[row * n + h.order[j]];
      matrix[i * n + i] = h.dead[row] ? std::max(mean, 1.0) : h.diagonal[row] + damping * mean;
    }
    if (inverse_factor(matrix, n, pool)) break;
    if (damping >= kMostDamping) {
      throw Error("its inputs on the calibration text are linearly dependent beyond repair",
                  fmt::format("layer \"{}\"", linear), "use more calibration text, or a larger --damping");
    }
    log_warning("layer \"{}\": damping {} is too little for its inputs, trying ten times as much", linear, damping);
    matrix.assign(n * n, 0);
  }
  h.factor.assign(matrix.begin(), matrix.end());
  return h;
}

}  // namespace lathe::quant
