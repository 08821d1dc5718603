// SmoothQuant+ (Pan et al. 2023, "SmoothQuant+: Accurate and Efficient 4-bit Post-Training Weight Quantization for
// LLM", section 2): activation outliers are moved into the weights with one strength alpha for the whole model, chosen
// where the quantized model's layers, errors accumulating, differ least from the original's. For each input column j,
// s_j = max |x_j|^alpha / max |w_j|^(1 - alpha), the weights' maximum taken over all linears that share the input; s is
// folded into what makes the input, exactly. The search includes no smoothing at all, which alpha = 0 is not.
#include <cmath>

#include "base/log.h"
#include "quant/merge.h"
#include "quant/method.h"

namespace lathe::quant {
namespace {

constexpr float kStep = 0.05f;
constexpr int kSteps = 21;         // alpha = 0, 0.05, .., 1
constexpr float kNoSmoothing = 2;  // an alpha that stands for s = 1

std::vector<float> scale_for(LayerWork& work, const ScaleSite& site, const InputStatistics& input, float alpha) {
  const std::size_t n = input.columns();
  std::vector<float> largest(n, 0), scale(n, 1);
  for (const std::string& linear : site.consumers) {
    const std::vector<float>& weight = work.values(linear + ".weight");
    for (std::size_t i = 0; i < weight.size(); ++i) largest[i % n] = std::max(largest[i % n], std::abs(weight[i]));
  }
  for (std::size_t j = 0; j < n; ++j) {
    if (input.largest[j] == 0 || largest[j] == 0) continue;  // a column never used
    scale[j] = std::max(1e-5f, std::pow(input.largest[j], alpha) / std::pow(largest[j], 1 - alpha));
  }
  tie_scale(site, scale);
  return scale;
}

class SmoothQuantPlus final : public Method {
 public:
  std::string_view name() const override { return "smoothquant+"; }
  std::string_view description() const override {
    return "input outliers moved into the weights, one strength for the whole model, searched";
  }
  std::string_view paper() const override { return "Pan et al. 2023"; }
  std::vector<std::string_view> options() const override { return {"--alpha"}; }
  Needs needs() const override { return Needs::kStatistics; }
  bool can_target(const Target& target) const override { return target.codec->can_encode(); }

  void prepare(MethodOptions& options, const WholeModel& model) const override {
    if (options.alpha >= 0) return;
    MethodOptions trial = options;
    trial.alpha = kNoSmoothing;
    options.alpha = kNoSmoothing;
    double least = model.loss(trial);
    log_info("no smoothing: loss {:.6f}", least);
    for (int step = 0; step < kSteps; ++step) {
      trial.alpha = kStep * static_cast<float>(step);
      const double value = model.loss(trial);
      log_info("alpha {:.2f}: loss {:.6f}", trial.alpha, value);
      if (value < least) least = value, options.alpha = trial.alpha;
    }
    log_info("chosen: {}", options.alpha == kNoSmoothing ? "no smoothing" : fmt::format("alpha {:.2f}", options.alpha));
  }

  void quantize(LayerWork& work) const override {
    if (work.options.alpha != kNoSmoothing) {
      for (const ScaleSite& site : scale_sites(work)) {
        const InputStatistics& input = work.input_of(site.input);
        fold_scale(work, site, scale_for(work, site, input, work.options.alpha));
      }
    }
    for (const Linears& linears : work.linears_by_input()) {
      for (const std::string& linear : linears) work.round_to_target(linear + ".weight");
    }
    work.keep_changed();
  }
};

}  // namespace

const Method& smoothquant_plus_method() {
  static const SmoothQuantPlus kMethod;
  return kMethod;
}

}  // namespace lathe::quant
