// GPTQ (Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
// algorithm 1): columns are rounded one after another, and what rounding one of them does to the layer's output is
// taken back by the columns still to come. With H the sum of x x^T over calibration and H^-1 = V V^T (V lower
// triangular), the error of column j, divided by V[j][j], is subtracted from every later column k with weight V[k][j].
//
// Groups get their grids when their first column comes up, from weights that already carry the corrections. With
// act_order columns come in the order of falling diag(H), and grids are fixed beforehand from the original weights
// ("static groups"), so that storage keeps the order of the columns.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/cancel.h"
#include "base/error.h"
#include "base/log.h"
#include "quant/cholesky.h"
#include "quant/method.h"
#include "tensor/codecs/int_group_fit.h"

namespace lathe::quant {
namespace {

constexpr std::size_t kRows = 32;      // weight rows a task takes through all columns together
constexpr std::size_t kColumns = 128;  // columns whose errors are handed on together
constexpr float kMostDamping = 1.0f;

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define LATHE_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LATHE_VECTOR_CLONES
#endif

// target[0 .. kRows) -= sum over j of factors[j] * errors[j][0 .. kRows), j ascending.
LATHE_VECTOR_CLONES void subtract_errors(float* target, const float* factors, const float* errors, std::size_t count) {
  float sums[kRows];
  std::memcpy(sums, target, sizeof sums);
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t r = 0; r < kRows; ++r) sums[r] -= factors[j] * errors[j * kRows + r];
  }
  std::memcpy(target, sums, sizeof sums);
}

// What all linears of one input share.
struct Hessian {
  std::vector<std::size_t> order;  // column that comes j-th
  std::vector<float> factor;       // V in that order, [n, n]
  std::vector<bool> dead;          // columns that are always zero
  std::vector<float> diagonal;     // of H, in the columns' own order
};

Hessian factorise(const InputStatistics& input, const MethodOptions& options, const std::string& linear,
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
  if (options.act_order) {
    std::stable_sort(h.order.begin(), h.order.end(),
                     [&](std::size_t a, std::size_t b) { return h.diagonal[a] > h.diagonal[b]; });
  }
  std::vector<double> matrix(n * n);
  for (float damping = options.damping;; damping *= 10) {
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

// One weight: rows in strips of kRows, each strip [columns][kRows].
class Rounding {
 public:
  Rounding(const std::vector<float>& weight, const Shape& shape, const Target& grid, const Hessian& hessian,
           bool static_groups)
      : weight_(weight),
        rows_(shape.rows()),
        cols_(shape.cols()),
        bits_(grid.params.bits),
        symmetric_(int_group_codec(*grid.codec)->symmetric()),
        group_(int_group_columns(grid.params, cols_)),
        groups_(int_groups(grid.params, cols_)),
        hessian_(hessian),
        static_groups_(static_groups),
        levels(rows_ * cols_),
        grids(rows_ * groups_) {
    // Errors are handed on at the ends of whole groups, so that grids are fitted to corrected weights.
    step_ = group_ < kColumns ? kColumns / group_ * group_ : kColumns;
    if (group_ > kColumns && group_ % kColumns != 0) step_ = std::min(cols_, group_);
  }

  void rows(std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; row += kRows) strip(row, std::min(end, row + kRows));
  }

 private:
  float* column(std::size_t j) { return strip_.data() + j * kRows; }

  void fit(std::size_t row, std::size_t lane, std::size_t group) {
    const std::size_t begin = group * group_, count = std::min(group_, cols_ - begin);
    values_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      values_[i] = static_groups_ ? weight_[row * cols_ + begin + i] : column(begin + i)[lane];
    }
    IntGrid grid = fit_int_grid(values_, std::span(hessian_.diagonal).subspan(begin, count), bits_, symmetric_);
    if (!std::isfinite(grid.scale)) grid.scale = 65504.0f * (grid.scale < 0 ? -1.0f : 1.0f);
    grids[row * groups_ + group] = grid;
  }

  void strip(std::size_t begin, std::size_t end) {
    const std::size_t count = end - begin;
    strip_.assign(cols_ * kRows, 0);
    for (std::size_t j = 0; j < cols_; ++j) {
      const std::size_t c = hessian_.order[j];
      for (std::size_t lane = 0; lane < count && !hessian_.dead[c]; ++lane) {
        column(j)[lane] = weight_[(begin + lane) * cols_ + c];
      }
    }
    if (static_groups_) {
      for (std::size_t lane = 0; lane < count; ++lane) {
        for (std::size_t g = 0; g < groups_; ++g) fit(begin + lane, lane, g);
      }
    }
    errors_.assign(step_ * kRows, 0);
    for (std::size_t block = 0; block < cols_; block += step_) {
      const std::size_t last = std::min(cols_, block + step_);
      for (std::size_t j = block; j < last; ++j) {
        const std::size_t c = hessian_.order[j];
        const float* factors = hessian_.factor.data() + j * cols_;
        subtract_errors(column(j), factors + block, errors_.data(), j - block);
        // A group's later columns must carry the corrections before its grid is fitted.
        if (!static_groups_ && j % group_ == 0) {
          const std::size_t group_end = std::min(last, j + group_);
          look_ahead(j, group_end, block);
          for (std::size_t lane = 0; lane < count; ++lane) fit(begin + lane, lane, j / group_);
          restore(j, group_end);
        }
        const float inverse = 1 / factors[j];
        float* error = errors_.data() + (j - block) * kRows;
        for (std::size_t lane = 0; lane < count; ++lane) {
          const IntGrid& grid = grids[(begin + lane) * groups_ + c / group_];
          const float w = column(j)[lane];
          const int level = nearest_int_level(grid, w, bits_);
          levels[(begin + lane) * cols_ + c] = static_cast<std::uint8_t>(level);
          error[lane] = (w - grid.value(level)) * inverse;
        }
      }
      for (std::size_t k = last; k < cols_; ++k) {
        subtract_errors(column(k), hessian_.factor.data() + k * cols_ + block, errors_.data(), last - block);
      }
    }
  }

  // Columns (j, end) with the errors of columns [block, j) taken off, for a fit; restore() undoes it.
  void look_ahead(std::size_t j, std::size_t end, std::size_t block) {
    kept_.assign(column(j), column(j) + (end - j) * kRows);
    for (std::size_t k = j + 1; k < end; ++k) {
      subtract_errors(column(k), hessian_.factor.data() + k * cols_ + block, errors_.data(), j - block);
    }
  }
  void restore(std::size_t j, std::size_t end) {
    std::copy(kept_.begin() + static_cast<std::ptrdiff_t>(kRows), kept_.end(), column(j + 1));
    (void)end;
  }

  const std::vector<float>& weight_;
  std::size_t rows_, cols_;
  int bits_;
  bool symmetric_;
  std::size_t group_, groups_, step_ = kColumns;
  const Hessian& hessian_;
  bool static_groups_;
  std::vector<float> strip_, errors_, values_, kept_;

 public:
  std::vector<std::uint8_t> levels;
  std::vector<IntGrid> grids;
};

class Gptq final : public Method {
 public:
  std::string_view name() const override { return "gptq"; }
  std::string_view description() const override {
    return "columns in turn, later ones take back the error of earlier ones";
  }
  std::string_view paper() const override { return "Frantar et al. 2023"; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override { return integer_grid(target).has_value(); }

  void quantize(LayerWork& work) const override {
    for (const arch::Op* op : work.linear_ops()) {
      const std::string& first = op->linears.front().weight;
      const Hessian hessian = factorise(work.input_of(first), work.options, first, *work.pool);
      for (const arch::LinearUse& use : op->linears) {
        interrupt_token().check();
        round(work, use.weight + ".weight", hessian);
      }
    }
  }

 private:
  static void round(LayerWork& work, const std::string& name, const Hessian& hessian) {
    const Target target = work.target_of(name);
    const auto grid = integer_grid(target);
    if (!grid) return work.round_to_target(name);  // F16, where blocks do not divide the rows
    const std::vector<float>& weight = work.values(name);
    for (const float value : weight) {
      if (!std::isfinite(value)) fail(fmt::format("tensor \"{}\"", name), "holds NaN or infinity");
    }
    const Shape& shape = work.shape(name);
    const std::size_t cols = shape.cols();
    std::vector<std::uint8_t> levels(shape.elements());
    const std::size_t groups = int_groups(grid->params, cols);
    std::vector<IntGrid> grids(shape.rows() * groups);
    work.pool->parallel_for(shape.rows(), kRows, [&](std::size_t begin, std::size_t end, int) {
      const std::vector<float> part(weight.begin() + static_cast<std::ptrdiff_t>(begin * cols),
                                    weight.begin() + static_cast<std::ptrdiff_t>(end * cols));
      Rounding rounding(part, Shape{end - begin, cols}, *grid, hessian, work.options.act_order);
      rounding.rows(0, end - begin);
      std::copy(rounding.levels.begin(), rounding.levels.end(),
                levels.begin() + static_cast<std::ptrdiff_t>(begin * cols));
      std::copy(rounding.grids.begin(), rounding.grids.end(),
                grids.begin() + static_cast<std::ptrdiff_t>(begin * groups));
    });
    const PackedTensor integers =
        pack_int_groups(name, *int_group_codec(*grid->codec), shape, grid->params, levels, grids);
    work.packed[name] = from_integer_grid(integers, target);
  }
};

}  // namespace

const Method& gptq_method() {
  static const Gptq kMethod;
  return kMethod;
}

}  // namespace lathe::quant
