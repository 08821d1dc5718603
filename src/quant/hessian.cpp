#include "quant/hessian.h"

#include <algorithm>
#include <numeric>

#include "base/cancel.h"
#include "base/error.h"
#include "base/log.h"
#include "quant/cholesky.h"

namespace lathe::quant {
namespace {

constexpr float kLeastRaised = 1e-6f;  // what a raise starts from, as ten times nothing is nothing
constexpr int kRaises = 3;

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
  for (int raises = 0;; ++raises) {
    interrupt_token().check();
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t row = h.order[i];
      for (std::size_t j = 0; j <= i; ++j) matrix[i * n + j] = input.gram[row * n + h.order[j]];
      matrix[i * n + i] = h.dead[row] ? std::max(mean, 1.0) : h.diagonal[row] + damping * mean;
    }
    if (inverse_factor(matrix, n, pool)) break;
    if (raises == kRaises) {
      throw Error("its inputs on the calibration text are linearly dependent beyond repair",
                  fmt::format("tensor \"{}.weight\"", linear),
                  fmt::format("use more calibration text, or a --damping above {:g}", damping));
    }
    const float raised = 10 * std::max(damping, kLeastRaised);
    log_warning("tensor \"{}.weight\": damping {:g} is too little for its inputs, trying {:g}", linear, damping,
                raised);
    damping = raised;
    matrix.assign(n * n, 0);
  }
  h.damping = damping;
  h.factor.assign(matrix.begin(), matrix.end());
  return h;
}

}  // namespace lathe::quant
