// Column after column with compensation (Frantar et al. 2023, "GPTQ", algorithm 1), which several methods share: they
// differ in what a group's grid is and in what becomes of a weight. With H^-1 = V V^T (hessian.h), the error of column
// j, divided by V[j][j], is subtracted from every later column k with weight V[k][j].
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "quant/hessian.h"

namespace lathe::quant {

inline constexpr std::size_t kStripRows = 32;  // weight rows a task takes through all columns together

// target[0 .. kStripRows) -= sum over j of factors[j] * errors[j][0 .. kStripRows), j ascending.
void subtract_errors(float* target, const float* factors, const float* errors, std::size_t count);

class ColumnWalk {
 public:
  // `group`: columns that get their grid together, when the first of them comes up; 0: none do. `hessian` must outlive
  // it.
  ColumnWalk(const Hessian& hessian, std::size_t group) : hessian_(hessian), group_(group) {
    const std::size_t n = hessian.columns();
    // Errors are handed on at the ends of whole groups, so that grids are fitted to corrected weights.
    if (group_ > 0 && group_ < kColumns) step_ = kColumns / group_ * group_;
    if (group_ > kColumns && group_ % kColumns != 0) step_ = std::min(n, group_);
  }

  // `weight`: `count` <= kStripRows rows. For each group fit(first, size, values) with values [size][kStripRows] that
  // carry the corrections; for each column round(place, values, rounded), both [kStripRows]. Columns are counted by
  // their places in the Hessian's order. Rows beyond count are zeros.
  template <class Fit, class Round>
  void run(const float* weight, std::size_t count, const Fit& fit, const Round& round) {
    const std::size_t n = hessian_.columns();
    strip_.assign(n * kStripRows, 0);
    for (std::size_t j = 0; j < n; ++j) {
      const std::size_t c = hessian_.order[j];
      for (std::size_t lane = 0; lane < count && !hessian_.dead[c]; ++lane) column(j)[lane] = weight[lane * n + c];
    }
    errors_.assign(step_ * kStripRows, 0);
    for (std::size_t block = 0; block < n; block += step_) {
      const std::size_t last = std::min(n, block + step_);
      for (std::size_t j = block; j < last; ++j) {
        const float* factors = hessian_.factor.data() + j * n;
        subtract_errors(column(j), factors + block, errors_.data(), j - block);
        if (group_ > 0 && j % group_ == 0) {
          const std::size_t end = std::min(n, j + group_);
          look_ahead(j, std::min(last, end), block);
          fit(j, end - j, static_cast<const float*>(column(j)));
          std::copy(kept_.begin(), kept_.end(), column(j) + kStripRows);
        }
        float* error = errors_.data() + (j - block) * kStripRows;
        float rounded[kStripRows] = {};
        round(j, static_cast<const float*>(column(j)), rounded);
        const float inverse = 1 / factors[j];
        for (std::size_t lane = 0; lane < count; ++lane) error[lane] = (column(j)[lane] - rounded[lane]) * inverse;
      }
      for (std::size_t k = last; k < n; ++k) {
        subtract_errors(column(k), hessian_.factor.data() + k * n + block, errors_.data(), last - block);
      }
    }
  }

 private:
  static constexpr std::size_t kColumns = 128;  // whose errors are handed on together
  float* column(std::size_t j) { return strip_.data() + j * kStripRows; }

  // Takes the errors of columns [block, j) off columns (j, end), for a fit; kept_ is what they were.
  void look_ahead(std::size_t j, std::size_t end, std::size_t block) {
    kept_.assign(column(j) + kStripRows, column(j) + (end - j) * kStripRows);
    for (std::size_t k = j + 1; k < end; ++k) {
      subtract_errors(column(k), hessian_.factor.data() + k * hessian_.columns() + block, errors_.data(), j - block);
    }
  }

  const Hessian& hessian_;
  std::size_t group_, step_ = kColumns;
  std::vector<float> strip_, errors_, kept_;
};

}  // namespace lathe::quant
