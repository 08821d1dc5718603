// DB-LLM without its training (Chen et al. 2024, "DB-LLM: Accurate Dual-Binarization for Efficient LLMs"):
// weights as sums of two binary planes with free scales. The paper learns the scales by distillation; here they
// minimise what the layer's output loses, in closed form. Planes first: columns are taken in turn, later ones take back
// the error of earlier ones (column_walk.h), and each goes to the nearest of its group's four levels. Then, for planes
// that stay, the error is quadratic in all scales of a row together, whose best values solve
//   (B H B^T) a = B H w
// with H the damped sum of x x^T, w the row's weights, and B [2 groups, columns] its planes.
#include <algorithm>
#include <cmath>

#include "base/cancel.h"
#include "base/half.h"
#include "quant/column_walk.h"
#include "quant/method.h"
#include "tensor/codecs/fdb_fit.h"

namespace lathe::quant {
namespace {

constexpr float kPlanesDamping = 0.01f;
constexpr int kRounds = 3;                  // of choosing planes and solving for scales; more bring no more
constexpr std::size_t kSolvedTogether = 8;  // rows, so that H is read once for all of them

// Codes and grids of one weight.
struct Planes {
  std::vector<std::uint8_t> codes;  // [rows, cols]
  std::vector<FdbGrid> grids;       // [rows, groups]
};

// Not finite where halves cannot hold it.
FdbGrid in_halves(FdbGrid grid) {
  return {float_from_half(half_from_float(grid.first)), float_from_half(half_from_float(grid.second))};
}

bool is_finite(const FdbGrid& grid) { return std::isfinite(grid.first) && std::isfinite(grid.second); }

// Rows [begin, end), at most kStripRows; `name` for errors. `fit`: grids too, when a group's first column comes up.
void choose_planes(const std::string& name, const std::vector<float>& weight, std::size_t begin, std::size_t end,
                   std::size_t group, const Hessian& hessian, bool fit, Planes& out) {
  const std::size_t cols = hessian.columns(), groups = (cols + group - 1) / group;
  std::vector<float> values;
  ColumnWalk(hessian, fit ? group : 0)
      .run(
          weight.data() + begin * cols, end - begin,
          [&](std::size_t first, std::size_t count, const float* columns) {
            values.resize(count);
            for (std::size_t lane = 0; lane < end - begin; ++lane) {
              for (std::size_t i = 0; i < count; ++i) values[i] = columns[i * kStripRows + lane];
              const FdbGrid grid = in_halves(fit_fdb_grid(values, std::span(hessian.diagonal).subspan(first, count)));
              if (!is_finite(grid)) fail_scale(name, begin + lane);
              out.grids[(begin + lane) * groups + first / group] = grid;
            }
          },
          [&](std::size_t column, const float* w, float* rounded) {
            for (std::size_t lane = 0; lane < end - begin; ++lane) {
              const FdbGrid& grid = out.grids[(begin + lane) * groups + column / group];
              const int code = nearest_fdb_code(grid, w[lane]);
              out.codes[(begin + lane) * cols + column] = static_cast<std::uint8_t>(code);
              rounded[lane] = grid.value(code);
            }
          });
}

// Solves the symmetric positive definite a x = b in place (a [n, n], b becomes x); false when a is not.
bool solve_definite(std::vector<double>& a, std::vector<double>& b) {
  const std::size_t n = b.size();
  for (std::size_t j = 0; j < n; ++j) {
    double pivot = a[j * n + j];
    for (std::size_t k = 0; k < j; ++k) pivot -= a[j * n + k] * a[j * n + k];
    if (!(pivot > 1e-12 * a[j * n + j])) return false;
    a[j * n + j] = std::sqrt(pivot);
    for (std::size_t i = j + 1; i < n; ++i) {
      double sum = a[i * n + j];
      for (std::size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = sum / a[j * n + j];
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return true;
}

// The equations of one row: unknown 2 g + p is the scale of plane p of group g.
struct ScaleEquations {
  std::vector<double> matrix, right;  // [2 groups, 2 groups], [2 groups]
};

// Scales of rows [begin, end), at most kSolvedTogether, of `cols` columns, for planes that stay. Rows whose equations
// have no one solution, or one that halves cannot hold, keep the scales they have.
void solve_scales(const std::vector<float>& weight, std::size_t cols, std::size_t begin, std::size_t end,
                  std::size_t group, const std::vector<float>& gram, double ridge, Planes& planes) {
  const std::size_t rows = end - begin, groups = (cols + group - 1) / group, n = 2 * groups;
  std::vector<ScaleEquations> equations(rows, {std::vector<double>(n * n), std::vector<double>(n)});
  std::vector<float> products(rows * 2 * cols);  // of B's two rows of a group with x x^T, for each row
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t first = g * group, last = std::min(cols, first + group);
    std::fill(products.begin(), products.end(), 0.0f);
    for (std::size_t c = first; c < last; ++c) {
      const float* h = gram.data() + c * cols;
      for (std::size_t r = 0; r < rows; ++r) {
        const std::uint8_t code = planes.codes[(begin + r) * cols + c];
        for (std::size_t p = 0; p < 2; ++p) {
          if ((code >> p & 1) == 0) continue;
          float* sum = products.data() + (r * 2 + p) * cols;
          for (std::size_t k = 0; k < cols; ++k) sum[k] += h[k];
        }
      }
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const std::uint8_t* codes = planes.codes.data() + (begin + r) * cols;
      const float* w = weight.data() + (begin + r) * cols;
      for (std::size_t p = 0; p < 2; ++p) {
        const float* product = products.data() + (r * 2 + p) * cols;
        double* row = equations[r].matrix.data() + (2 * g + p) * n;
        double& right = equations[r].right[2 * g + p];
        for (std::size_t c = 0; c < cols; ++c) {
          const double damped = product[c] + (c >= first && c < last && (codes[c] >> p & 1) != 0 ? ridge : 0);
          right += damped * w[c];
          if ((codes[c] & 1) != 0) row[c / group * 2] += damped;
          if ((codes[c] & 2) != 0) row[c / group * 2 + 1] += damped;
        }
      }
    }
  }
  std::vector<FdbGrid> solved(groups);
  for (std::size_t r = 0; r < rows; ++r) {
    FdbGrid* grids = planes.grids.data() + (begin + r) * groups;
    auto& [matrix, right] = equations[r];
    for (std::size_t i = 0; i < n; ++i) {
      if (matrix[i * n + i] == 0) matrix[i * n + i] = 1;  // an empty plane
    }
    if (!solve_definite(matrix, right)) continue;
    for (std::size_t g = 0; g < groups; ++g) {
      solved[g] = in_halves({static_cast<float>(right[2 * g]), static_cast<float>(right[2 * g + 1])});
    }
    if (std::all_of(solved.begin(), solved.end(), is_finite)) std::copy(solved.begin(), solved.end(), grids);
  }
}

class DbLlm final : public Method {
 public:
  std::string_view name() const override { return "db-llm"; }
  std::string_view description() const override {
    return "two binary planes with compensation, scales solved for the layer's output";
  }
  std::string_view paper() const override { return "Chen et al. 2024"; }
  std::vector<std::string_view> options() const override { return {"--damping"}; }
  std::string_view usual_codec() const override { return "FDB"; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override { return fdb_codec(*target.codec) != nullptr; }

  void quantize(LayerWork& work) const override {
    for (const Linears& linears : work.linears_by_input()) {
      const std::string& first = linears.front();
      const Hessian hessian =
          factorise(work.input_of(first), work.options.damping.value_or(kPlanesDamping), false, first, *work.pool);
      for (const std::string& linear : linears) {
        interrupt_token().check();
        binarize(work, linear + ".weight", hessian, work.input_of(first).gram);
      }
    }
  }

 private:
  static void binarize(LayerWork& work, const std::string& name, const Hessian& hessian,
                       const std::vector<float>& gram) {
    const CodecParams& params = work.target.params;
    const std::vector<float>& weight = work.checked_values(name);
    const Shape& shape = work.shape(name);
    const std::size_t cols = shape.cols(), group = int_group_columns(params, cols);
    Planes planes;
    planes.codes.resize(shape.elements());
    planes.grids.resize(shape.rows() * int_groups(params, cols));
    double mean = 0;
    for (const float h : hessian.diagonal) mean += h;
    const double ridge = hessian.damping * mean / static_cast<double>(std::max<std::size_t>(1, cols));
    for (int round = 0; round < kRounds; ++round) {
      work.pool->parallel_for(shape.rows(), kStripRows, [&](std::size_t begin, std::size_t end, int) {
        choose_planes(name, weight, begin, end, group, hessian, round == 0, planes);
      });
      work.pool->parallel_for(shape.rows(), kSolvedTogether, [&](std::size_t begin, std::size_t end, int) {
        interrupt_token().check();
        solve_scales(weight, cols, begin, end, group, gram, ridge, planes);
      });
    }
    work.packed[name] = pack_fdb(name, shape, params, planes.codes, planes.grids);
  }
};

}  // namespace

const Method& db_llm_method() {
  static const DbLlm kMethod;
  return kMethod;
}

}  // namespace lathe::quant
