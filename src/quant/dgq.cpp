// DGQ (Zhang et al. 2023, "Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM"): scales of groups
// that are integers times one float per row (tensor/codecs/dgq.h), searched in two phases, so that the costs add up
// instead of multiplying.
//
// Before the search, "percentile clipping smoothing": the input columns whose largest value is beyond the 99.5th
// percentile of all columns' are scaled down to it, which is folded into the norm, or the linear behind a gate, that
// makes the input; inputs that come from elsewhere stay as they are. Phase 1: for each group of each row the float
// grid, out of 20 that clip ever more, whose rounding changes the outputs least, the other groups left out. Phase 2:
// for each row the float factor, out of 80, under which rounding the groups' scales to integers, and the weights to
// them, changes its outputs least. Onto INT_ASYM, whose scales are floats, phase 1 is all.
#include <algorithm>
#include <cmath>
#include <functional>

#include "base/cancel.h"
#include "base/half.h"
#include "base/log.h"
#include "quant/merge.h"
#include "quant/method.h"
#include "quant/output_error.h"
#include "tensor/codecs/dgq.h"
#include "tensor/codecs/int_group.h"
#include "tensor/codecs/rounding.h"

namespace lathe::quant {
namespace {

constexpr int kGroupRatios = 20;
constexpr float kLeastOutlier = 1e-4f;   // an input whose percentile is smaller is left as it is
constexpr std::size_t kSearchRows = 96;  // of phase 2 at a time: their changes stay in a core's own cache

float group_ratio(int number) { return 1.02f - 0.22f * static_cast<float>(number) / kGroupRatios; }

// What divides each column of an input whose largest magnitudes are given.
std::vector<float> clipping_scale(const std::vector<float>& largest, float percentile) {
  std::vector<float> sorted = largest, scale(largest.size(), 1);
  const double beyond = (1 - static_cast<double>(percentile) / 100) * static_cast<double>(sorted.size());
  const std::size_t rank = std::min(sorted.size(), static_cast<std::size_t>(std::floor(beyond + 1.5)));
  const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(sorted.begin(), at, sorted.end(), std::greater<>());
  if (*at < kLeastOutlier) return scale;
  for (std::size_t c = 0; c < largest.size(); ++c) scale[c] = std::max(1.0f, largest[c] / *at);
  return scale;
}

// Attention's output stays as it is: a scale of it would go into the value projection, which the paper leaves alone.
void smooth(LayerWork& work) {
  for (const ScaleSite& site : scale_sites(work)) {
    if (site.through_attention) continue;
    const InputStatistics& input = work.input_of(site.input);
    const std::vector<float> scale = clipping_scale(input.largest, work.options.smooth_percentile);
    if (*std::max_element(scale.begin(), scale.end()) > 1) fold_scale(work, site, scale);
  }
}

// The grid of levels up to `highest` that covers a group's values, zero among them, times a ratio.
IntGrid clipped_grid(std::span<const float> x, float ratio, float highest) {
  float low = 0, high = 0;
  for (const float value : x) low = std::min(low, value), high = std::max(high, value);
  const float scale = ratio * (high - low) / highest;
  return {scale, nearest_level(-ratio * low * safe_reciprocal(scale), 0, highest)};
}

// The value's level, less the zero point.
float nearest_in(const IntGrid& grid, float value, float inverse, float highest) {
  return nearest_level(value * inverse, -grid.zero, highest - grid.zero);
}

// The two phases for one weight [rows, n].
class DgqSearch {
 public:
  DgqSearch(LayerWork& work, const std::string& name, const InputStatistics& input)
      : work_(work),
        weight_(work.checked_values(name)),
        params_(work.target.params),
        highest_(static_cast<float>((1 << params_.bits) - 1)),
        input_(input),
        n_(input.columns()),
        rows_(work.shape(name).rows()),
        group_(int_group_columns(params_, n_)),
        groups_(int_groups(params_, n_)),
        grids_(rows_ * groups_) {
    for (std::size_t g = 0; g < groups_; ++g) search_group(g);
  }

  // What phase 1 found, scales as half-precision numbers.
  PackedTensor integers(const std::string& name, const IntGroupCodec& codec) {
    std::vector<std::uint8_t> levels(rows_ * n_);
    for_rows(rows_, [&](std::size_t row) {
      for (std::size_t g = 0; g < groups_; ++g) {
        IntGrid& grid = grids_[row * groups_ + g];
        grid.scale = float_from_half(half_from_float(grid.scale));
        const float inverse = safe_reciprocal(grid.scale);
        for (std::size_t c = g * group_; c < std::min(n_, (g + 1) * group_); ++c) {
          const float level = nearest_in(grid, weight_[row * n_ + c], inverse, highest_) + grid.zero;
          levels[row * n_ + c] = static_cast<std::uint8_t>(level);
        }
      }
    });
    return pack_int_groups(name, codec, work_.shape(name), params_, levels, grids_);
  }

  // With integer scales, by phase 2.
  std::vector<DgqRow> dual_grained() {
    std::vector<DgqRow> found(rows_);
    OutputError error(input_, 0, n_, std::min(rows_, kSearchRows), *work_.backend, *work_.pool);
    for (std::size_t begin = 0; begin < rows_; begin += kSearchRows) {
      search_factors(begin, std::min(rows_, begin + kSearchRows), error, found);
    }
    return found;
  }

 private:
  std::span<const float> values(std::size_t row, std::size_t begin, std::size_t count) const {
    return std::span(weight_).subspan(row * n_ + begin, count);
  }
  std::span<const IntGrid> grids(std::size_t row) const { return std::span(grids_).subspan(row * groups_, groups_); }

  // Phase 1 for group g of every row.
  void search_group(std::size_t g) {
    const std::size_t begin = g * group_, width = std::min(group_, n_ - begin);
    OutputError error(input_, begin, begin + width, rows_, *work_.backend, *work_.pool);
    std::vector<float> changes(rows_ * width);
    std::vector<double> errors(rows_), least(rows_, INFINITY);
    for (int i = 1; i <= kGroupRatios; ++i) {
      interrupt_token().check();
      const float ratio = group_ratio(i);
      for_rows(rows_, [&](std::size_t row) {
        const std::span<const float> x = values(row, begin, width);
        const IntGrid grid = clipped_grid(x, ratio, highest_);
        const float inverse = safe_reciprocal(grid.scale);
        float* change = changes.data() + row * width;
        for (std::size_t c = 0; c < width; ++c) {
          change[c] = grid.scale * nearest_in(grid, x[c], inverse, highest_) - x[c];
        }
      });
      error.measure(changes, errors);
      for (std::size_t row = 0; row < rows_; ++row) {
        if (!(errors[row] < least[row])) continue;
        least[row] = errors[row];
        grids_[row * groups_ + g] = clipped_grid(values(row, begin, width), ratio, highest_);
      }
    }
  }

  // Phase 2 for rows [begin, end).
  void search_factors(std::size_t begin, std::size_t end, OutputError& error, std::vector<DgqRow>& found) {
    const std::size_t rows = end - begin;
    std::vector<float> changes(rows * n_), largest(rows, 0), best(rows, 0);
    std::vector<double> errors(rows), least(rows, INFINITY);
    for (std::size_t r = 0; r < rows; ++r) {
      for (const float value : values(begin + r, 0, n_)) largest[r] = std::max(largest[r], std::abs(value));
    }
    for (int i = 1; i <= kDgqFactors; ++i) {
      interrupt_token().check();
      for_rows(rows, [&](std::size_t r) {
        change_row(begin + r, dgq_factor(largest[r], i), std::span(changes).subspan(r * n_, n_));
      });
      error.measure(changes, errors);
      for (std::size_t r = 0; r < rows; ++r) {
        if (errors[r] < least[r]) least[r] = errors[r], best[r] = dgq_factor(largest[r], i);
      }
    }
    for (std::size_t r = 0; r < rows; ++r) {
      found[begin + r] = round_dgq_row(values(begin + r, 0, n_), grids(begin + r), best[r], params_);
    }
  }

  // What rounding under a factor adds to each weight of a row.
  void change_row(std::size_t row, float factor, std::span<float> changes) const {
    for (std::size_t g = 0; g < groups_; ++g) {
      const std::size_t begin = g * group_, width = std::min(group_, n_ - begin);
      const IntGrid& grid = grids_[row * groups_ + g];
      const int scale = dgq_scale(grid.scale, factor);
      const std::span<const float> x = values(row, begin, width);
      const std::span<float> change = changes.subspan(begin, width);
      round_dgq_group(x, factor, scale, static_cast<int>(grid.zero), change);
      const float step = factor * static_cast<float>(scale);
      for (std::size_t c = 0; c < width; ++c) change[c] = step * change[c] - x[c];
    }
  }

  // body(row) for rows 0 .. count - 1, in parallel.
  template <class Body>
  void for_rows(std::size_t count, const Body& body) {
    work_.pool->parallel_for(count, 16, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t row = begin; row < end; ++row) body(row);
    });
  }

  LayerWork& work_;
  const std::vector<float>& weight_;
  const CodecParams params_;
  const float highest_;  // level
  const InputStatistics& input_;
  const std::size_t n_, rows_, group_, groups_;
  std::vector<IntGrid> grids_;  // [rows][groups], scales as floats
};

class Dgq final : public Method {
 public:
  std::string_view name() const override { return "dgq"; }
  std::string_view description() const override {
    return "integer scales per group under a float scale per row, both searched; outliers of inputs clipped";
  }
  std::string_view paper() const override { return "Zhang et al. 2023"; }
  std::vector<std::string_view> options() const override { return {"--smooth-percentile"}; }
  std::string_view usual_codec() const override { return "DGQ"; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override {
    const IntGroupCodec* integers = int_group_codec(*target.codec);
    return dgq_codec(*target.codec) != nullptr || (integers != nullptr && integers->stores_zeros());
  }

  void quantize(LayerWork& work) const override {
    smooth(work);
    std::size_t groups = 0, ones = 0;
    for (const Linears& linears : work.linears_by_input()) {
      const InputStatistics& input = work.input_of(linears.front());
      for (const std::string& linear : linears) {
        const std::string name = linear + ".weight";
        DgqSearch search(work, name, input);
        if (const IntGroupCodec* codec = int_group_codec(*work.target.codec)) {
          work.packed[name] = search.integers(name, *codec);
          continue;
        }
        const std::vector<DgqRow> rows = search.dual_grained();
        for (const DgqRow& row : rows) {
          groups += row.scales.size();
          ones += static_cast<std::size_t>(std::count(row.scales.begin(), row.scales.end(), 1));
        }
        work.packed[name] = pack_dgq_rows(name, work.shape(name), work.target.params, rows);
      }
    }
    work.keep_changed();
    if (groups > 0)
      log_debug("layer {}: {} of {} groups have the smallest scale there is, 1", work.layer, ones, groups);
  }
};

}  // namespace

const Method& dgq_method() {
  static const Dgq kMethod;
  return kMethod;
}

}  // namespace lathe::quant
