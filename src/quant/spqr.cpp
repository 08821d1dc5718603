// SpQR (Dettmers et al. 2023, algorithm 1): columns in turn with compensation (column_walk.h), in small groups whose
// scales and zero points are quantized themselves, and the weights that rounding would hurt most kept as outliers.
//
// What rounding a weight costs, once later columns have made up for it, is its squared error over the squared pivot of
// H^-1. A weight whose cost is above a threshold T becomes an outlier the moment its column is rounded. Before that,
// when a group gets its grids, weights without which the rest of the group would lose more than T less are left out of
// the fit (section 4.1, "leave one out"); a second look decides whether they are outliers. T is outlier_threshold times
// the mean over columns of the variance of the weights over the squared pivot.
//
// Onto SPQR_ORDERED, or with act_order, columns come in the order of falling diag(H), groups are of columns that are
// neighbours in that order, and the weight is stored in it.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/cancel.h"
#include "base/error.h"
#include "base/half.h"
#include "quant/column_walk.h"
#include "quant/method.h"
#include "tensor/codecs/spqr.h"

namespace lathe::quant {
namespace {

constexpr float kSpqrDamping = 1.0f;
static_assert(kStripRows % kSpqrTileRows == 0);

// T for a weight [rows, n]; infinite where there are to be no outliers.
float threshold_of(const std::vector<float>& weight, const Hessian& hessian, float share) {
  const std::size_t n = hessian.columns(), rows = weight.size() / n;
  double total = 0;
  for (std::size_t j = 0; j < n; ++j) {
    const std::size_t c = hessian.order[j];
    double sum = 0, squares = 0;
    for (std::size_t row = 0; row < rows && !hessian.dead[c]; ++row) {
      const double w = weight[row * n + c];
      sum += w, squares += w * w;
    }
    const double mean = sum / static_cast<double>(rows), pivot = hessian.pivot(j);
    total += std::max(0.0, squares / static_cast<double>(rows) - mean * mean) / (pivot * pivot);
  }
  return share == 0 ? INFINITY : share * static_cast<float>(total / static_cast<double>(n));
}

// Replaces values that look like outliers by the mean of the others.
void leave_out(std::span<float> x, std::span<const float> costs, int bits, float threshold, std::span<float> gains) {
  spqr_leave_one_out(x, costs, bits, gains);
  double sum = 0;
  std::size_t kept = 0;
  for (std::size_t k = 0; k < x.size(); ++k) {
    if (!(gains[k] > threshold)) sum += x[k], ++kept;
  }
  const float mean = kept == 0 ? 0 : static_cast<float>(sum / static_cast<double>(kept));
  for (std::size_t k = 0; k < x.size(); ++k) {
    if (gains[k] > threshold) x[k] = mean;
  }
}

// Rows [begin, end) of a weight, at most kStripRows; begin is a multiple of kSpqrTileRows. Columns of `out` are in the
// Hessian's order.
void round_strip(const std::vector<float>& weight, std::size_t begin, std::size_t end, const CodecParams& params,
                 const Hessian& hessian, float threshold, SpqrWeights& out) {
  const std::size_t cols = hessian.columns(), group = static_cast<std::size_t>(params.group_size);
  const int bits = params.bits;
  std::array<SpqrGrid, kStripRows> grids;  // of the group that the walk is in
  std::vector<float> values, costs, gains;
  const auto fit = [&](std::size_t first, std::size_t count, const float* columns) {
    costs.resize(count), values.resize(count), gains.resize(count);
    for (std::size_t i = 0; i < count; ++i) costs[i] = 1 / (hessian.pivot(first + i) * hessian.pivot(first + i));
    for (std::size_t lane = 0; lane < end - begin; ++lane) {
      for (std::size_t i = 0; i < count; ++i) values[i] = columns[i * kStripRows + lane];
      if (std::isfinite(threshold)) leave_out(values, costs, bits, threshold, gains);
      grids[lane] = cover_spqr_grid(values, bits);
    }
    for (std::size_t lane = 0; lane < end - begin; lane += kSpqrTileRows) {
      const std::size_t rows = std::min<std::size_t>(kSpqrTileRows, end - begin - lane);
      SpqrCodes codes;
      const SpqrTile tile = round_spqr_grids(std::span(grids).subspan(lane, rows), codes);
      out.set_grids(begin + lane, first / group, tile, codes, rows);
    }
  };
  const auto round = [&](std::size_t column, const float* w, float* rounded) {
    const float cost = 1 / (hessian.pivot(column) * hessian.pivot(column));
    for (std::size_t lane = 0; lane < end - begin; ++lane) {
      int level = nearest_spqr_level(grids[lane], w[lane], bits);
      rounded[lane] = grids[lane].value(level);
      const float error = w[lane] - rounded[lane];
      if (error * error * cost > threshold) {
        level = nearest_spqr_level(grids[lane], 0, bits);
        rounded[lane] = float_from_half(half_from_float(w[lane]));
        out.row_outliers[begin + lane].push_back({static_cast<std::uint32_t>(column), rounded[lane]});
      }
      out.levels[(begin + lane) * cols + column] = static_cast<std::uint8_t>(level);
    }
  };
  ColumnWalk(hessian, group).run(weight.data() + begin * cols, end - begin, fit, round);
}

class Spqr final : public Method {
 public:
  std::string_view name() const override { return "spqr"; }
  std::string_view description() const override {
    return "as gptq, in small groups with quantized scales; weights that rounding hurts most become outliers";
  }
  std::string_view paper() const override { return "Dettmers et al. 2023"; }
  std::vector<std::string_view> options() const override { return {"--damping", "--act-order", "--outlier-threshold"}; }
  std::string_view usual_codec() const override { return "SPQR_ORDERED"; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override { return spqr_codec(*target.codec) != nullptr; }

  void quantize(LayerWork& work) const override {
    const bool ordered = work.options.act_order || spqr_codec(*work.target.codec)->ordered();
    for (const Linears& linears : work.linears_by_input()) {
      const std::string& first = linears.front();
      const Hessian hessian =
          factorise(work.input_of(first), work.options.damping.value_or(kSpqrDamping), ordered, first, *work.pool);
      for (const std::string& linear : linears) {
        interrupt_token().check();
        round(work, linear + ".weight", hessian, ordered);
      }
    }
  }

 private:
  static void round(LayerWork& work, const std::string& name, const Hessian& hessian, bool ordered) {
    const Target target = work.target_of(name);
    if (spqr_codec(*target.codec) == nullptr) return work.round_to_target(name);  // F16: rows too long
    const std::vector<float>& weight = work.checked_values(name);
    const float threshold = threshold_of(weight, hessian, work.options.outlier_threshold);
    const Shape& shape = work.shape(name);
    SpqrWeights weights(shape, target.params);
    if (ordered) weights.order.assign(hessian.order.begin(), hessian.order.end());
    work.pool->parallel_for(shape.rows(), kStripRows, [&](std::size_t begin, std::size_t end, int) {
      round_strip(weight, begin, end, target.params, hessian, threshold, weights);
    });
    work.packed[name] = pack_spqr(name, shape, target.params, weights);
  }
};

}  // namespace

const Method& spqr_method() {
  static const Spqr kMethod;
  return kMethod;
}

}  // namespace lathe::quant
