// GPTQ (Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
// algorithm 1): columns are rounded one after another, and what rounding one of them does to the layer's output is
// taken back by the columns still to come (column_walk.h).
//
// Groups get their grids when their first column comes up, from weights that already carry the corrections. With
// act_order columns come in the order of falling diag(H), and grids are fixed beforehand from the original weights
// ("static groups"), so that storage keeps the order of the columns.
#include <algorithm>
#include <cmath>

#include "base/cancel.h"
#include "quant/column_walk.h"
#include "quant/method.h"

namespace lathe::quant {
namespace {

constexpr float kGptqDamping = 0.01f;

// Levels and grids of one weight.
struct Rounded {
  std::vector<std::uint8_t> levels;  // [rows, cols]
  std::vector<IntGrid> grids;        // [rows, groups]
};

// Rows [begin, end) of a weight, at most kStripRows; `name` for errors.
void round_strip(const std::string& name, const std::vector<float>& weight, std::size_t begin, std::size_t end,
                 const IntegerGrid& kind, const Hessian& hessian, bool static_groups, Rounded& out) {
  const CodecParams& params = kind.target.params;
  const std::size_t cols = hessian.columns(), group = int_group_columns(params, cols);
  const std::size_t groups = int_groups(params, cols);
  const float* rows = weight.data() + begin * cols;
  std::vector<float> values;
  const auto fit = [&](std::size_t lane, std::size_t first, std::size_t count, const float* from, std::size_t stride) {
    values.resize(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = from[i * stride];
    const IntGrid fitted = kind.fit(values, std::span(hessian.diagonal).subspan(first, count));
    if (!std::isfinite(fitted.scale)) fail_scale(name, begin + lane);
    out.grids[(begin + lane) * groups + first / group] = fitted;
  };
  for (std::size_t lane = 0; lane < end - begin && static_groups; ++lane) {
    for (std::size_t first = 0; first < cols; first += group) {
      fit(lane, first, std::min(group, cols - first), rows + lane * cols + first, 1);
    }
  }
  ColumnWalk(hessian, static_groups ? 0 : group)
      .run(
          rows, end - begin,
          [&](std::size_t first, std::size_t count, const float* columns) {
            for (std::size_t lane = 0; lane < end - begin; ++lane) fit(lane, first, count, columns + lane, kStripRows);
          },
          [&](std::size_t place, const float* w, float* rounded) {
            const std::size_t column = hessian.order[place];
            for (std::size_t lane = 0; lane < end - begin; ++lane) {
              const IntGrid& own = out.grids[(begin + lane) * groups + column / group];
              const int level = kind.nearest(own, w[lane]);
              out.levels[(begin + lane) * cols + column] = static_cast<std::uint8_t>(level);
              rounded[lane] = own.value(level);
            }
          });
}

class Gptq final : public Method {
 public:
  std::string_view name() const override { return "gptq"; }
  std::string_view description() const override {
    return "columns in turn, later ones take back the error of earlier ones";
  }
  std::string_view paper() const override { return "Frantar et al. 2023"; }
  std::vector<std::string_view> options() const override { return {"--damping", "--act-order"}; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override { return integer_grid(target).has_value(); }

  void quantize(LayerWork& work) const override {
    for (const Linears& linears : work.linears_by_input()) {
      const std::string& first = linears.front();
      const Hessian hessian = factorise(work.input_of(first), work.options.damping.value_or(kGptqDamping),
                                        work.options.act_order, first, *work.pool);
      for (const std::string& linear : linears) {
        interrupt_token().check();
        round(work, linear + ".weight", hessian);
      }
    }
  }

 private:
  static void round(LayerWork& work, const std::string& name, const Hessian& hessian) {
    const Target target = work.target_of(name);
    const auto grid = integer_grid(target);
    if (!grid) return work.round_to_target(name);  // F16, where blocks do not divide the rows
    const std::vector<float>& weight = work.checked_values(name);
    const Shape& shape = work.shape(name);
    Rounded rounded;
    rounded.levels.resize(shape.elements());
    rounded.grids.resize(shape.rows() * int_groups(grid->target.params, shape.cols()));
    work.pool->parallel_for(shape.rows(), kStripRows, [&](std::size_t begin, std::size_t end, int) {
      round_strip(name, weight, begin, end, *grid, hessian, work.options.act_order, rounded);
    });
    const PackedTensor integers = pack_int_groups(name, *int_group_codec(*grid->target.codec), shape,
                                                  grid->target.params, rounded.levels, rounded.grids);
    work.packed[name] = from_integer_grid(integers, target);
  }
};

}  // namespace

const Method& gptq_method() {
  static const Gptq kMethod;
  return kMethod;
}

}  // namespace lathe::quant
