// SliM-LLM (Huang et al. 2024, "SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models"),
// without the gradients of SliM-LLM+: widths of blocks of columns by salience (slim_widths.h),
// then columns in turn with compensation (column_walk.h), a block's grids chosen so that its salient weights lose less
// ("salience-weighted quantizer calibration").
//
// The error of a weight counts 1 / pivot^2 when a block's grids are chosen, as in its salience w^2 / pivot^2. The paper
// gives all weights the same and the salient ones, whose salience lies more than two deviations above the mean of their
// block, a factor, which it leaves at 1, where it changes nothing: salience_weight is that factor, on top of the
// former. With plain_scales errors count as in gptq.cpp instead of the former. Two more things differ from the paper:
// the scale is searched as far as it pays rather than 10 % to both sides, with squares for the errors instead of
// their 2.4th power; and what counts as salient in a block is settled before any column is rounded, so that rows do not
// depend on each other.
#include <algorithm>
#include <cmath>

#include "base/cancel.h"
#include "base/log.h"
#include "quant/column_walk.h"
#include "quant/method.h"
#include "quant/slim_widths.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/codecs/slim.h"
#include "tensor/codecs/slim_fit.h"

namespace lathe::quant {
namespace {

constexpr float kSlimDamping = 0.01f;
constexpr double kSalientDeviations = 2;

// The salience from which on a weight of a block is salient; infinite where none is.
std::vector<float> salience_thresholds(const std::vector<float>& weight, const Hessian& hessian,
                                       const CodecParams& params) {
  const std::size_t n = hessian.columns(), rows = weight.size() / n;
  const auto group = static_cast<std::size_t>(params.group_size);
  std::vector<float> thresholds;
  for (std::size_t first = 0; first < n; first += group) {
    const std::size_t last = std::min(n, first + group);
    double sum = 0, squares = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t c = first; c < last; ++c) {
        const double salience = hessian.dead[c] ? 0 : salience_of(weight[row * n + c], hessian.pivot(c));
        sum += salience, squares += salience * salience;
      }
    }
    const double count = static_cast<double>(rows * (last - first)), mean = sum / count;
    const double deviation = std::sqrt(std::max(0.0, squares / count - mean * mean));
    thresholds.push_back(deviation > 0 ? static_cast<float>(mean + kSalientDeviations * deviation) : INFINITY);
  }
  return thresholds;
}

// What a weight becomes.
struct SlimRounding {
  CodecParams params;
  std::vector<std::uint8_t> widths, levels;  // [blocks]; [rows, cols]
  std::vector<IntGrid> grids;                // [rows, blocks]
};

// Rows [begin, end) of a weight, at most kStripRows; `name` for errors.
void round_slim_strip(const std::string& name, const std::vector<float>& weight, std::size_t begin, std::size_t end,
                      const Hessian& hessian, const std::vector<float>& thresholds, const MethodOptions& options,
                      SlimRounding& out) {
  const std::size_t cols = hessian.columns(), group = static_cast<std::size_t>(out.params.group_size);
  const std::size_t blocks = out.widths.size();
  std::vector<float> values, costs;
  const auto fit = [&](std::size_t first, std::size_t count, const float* columns) {
    const std::size_t block = first / group;
    values.resize(count), costs.resize(count);
    for (std::size_t lane = 0; lane < end - begin; ++lane) {
      for (std::size_t i = 0; i < count; ++i) {
        const float pivot = hessian.pivot(first + i);
        values[i] = columns[i * kStripRows + lane];
        costs[i] = options.plain_scales ? hessian.diagonal[first + i] : 1 / (pivot * pivot);
        if (salience_of(values[i], pivot) >= thresholds[block]) costs[i] *= options.salience_weight;
      }
      const IntGrid grid = fit_slim_grid(values, costs, out.widths[block]);
      if (!std::isfinite(grid.scale)) fail_scale(name, begin + lane);
      out.grids[(begin + lane) * blocks + block] = grid;
    }
  };
  const auto round = [&](std::size_t column, const float* w, float* rounded) {
    const std::size_t block = column / group;
    for (std::size_t lane = 0; lane < end - begin; ++lane) {
      const IntGrid& grid = out.grids[(begin + lane) * blocks + block];
      const int level = nearest_int_level(grid, w[lane], out.widths[block]);
      out.levels[(begin + lane) * cols + column] = static_cast<std::uint8_t>(level);
      rounded[lane] = grid.value(level);
    }
  };
  ColumnWalk(hessian, group).run(weight.data() + begin * cols, end - begin, fit, round);
}

class SlimLlm final : public Method {
 public:
  std::string_view name() const override { return "slim-llm"; }
  std::string_view description() const override {
    return "as gptq; blocks of columns get a bit more or less by their salience, at the same average";
  }
  std::string_view paper() const override { return "Huang et al. 2024"; }
  std::vector<std::string_view> options() const override {
    return {"--damping", "--even-widths", "--plain-scales", "--salience-weight"};
  }
  std::string_view usual_codec() const override { return "SLIM"; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override { return slim_codec(*target.codec) != nullptr; }

  void quantize(LayerWork& work) const override {
    for (const Linears& linears : work.linears_by_input()) {
      const std::string& first = linears.front();
      const InputStatistics& input = work.input_of(first);
      const Hessian hessian = factorise(input, work.options.damping.value_or(kSlimDamping), false, first, *work.pool);
      const std::size_t blocks = slim_whole_blocks(work.target.params, input.columns());
      if (blocks < kLeastMixedBlocks && !work.options.even_widths) {
        log_warning("layer \"{}\": {} whole blocks of {} columns are too few to differ in width", first, blocks,
                    work.target.params.group_size);
      }
      for (const std::string& linear : linears) {
        interrupt_token().check();
        round(work, linear + ".weight", hessian, input.sample);
      }
    }
  }

 private:
  static void round(LayerWork& work, const std::string& name, const Hessian& hessian, std::span<const float> sample) {
    const std::vector<float>& weight = work.checked_values(name);
    const Shape& shape = work.shape(name);
    SlimRounding out;
    out.params = work.target.params;
    const std::uint64_t blocks = slim_blocks(out.params, shape.cols());
    out.widths = work.options.even_widths ? slim_width_map(out.params, shape.cols(), {}, 0)
                                          : choose_widths(weight, hessian, out.params, sample, *work.pool);
    out.levels.resize(shape.elements());
    out.grids.resize(shape.rows() * blocks);
    const std::vector<float> thresholds = salience_thresholds(weight, hessian, out.params);
    work.pool->parallel_for(shape.rows(), kStripRows, [&](std::size_t begin, std::size_t end, int) {
      round_slim_strip(name, weight, begin, end, hessian, thresholds, work.options, out);
    });
    work.packed[name] = pack_slim(name, shape, out.params, out.widths, out.levels, out.grids);
  }
};

}  // namespace

const Method& slim_llm_method() {
  static const SlimLlm kMethod;
  return kMethod;
}

}  // namespace lathe::quant
