// Static 8-bit weights and activations with shadow outliers (mllm-NPU, Xu et al. 2024, "Fast On-device LLM Inference
// with NPUs", section 3.3), for the codec that is made for them (tensor/codecs/w8a8.h).
//
// The range of an input is its largest magnitude when a small share of its values, the largest, is left out. How much
// its outliers matter is its largest magnitude over that range. The inputs whose outliers matter least lose them: their
// scale covers the largest magnitude instead. So do those whose largest magnitude is not much beyond the range. The
// others keep a fine scale and what lies beyond it. All linears that read an input share its scale. Outputs stay
// floats, which the paper's processor cannot leave them.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cancel.h"
#include "base/log.h"
#include "quant/method.h"
#include "tensor/codecs/w8a8.h"

namespace lathe::quant {
namespace {

constexpr float kInputLevels = 127;
constexpr float kLeastRange = 1e-28f;  // an input that is smaller has no scale

float largest_of(const InputStatistics& input) { return *std::max_element(input.largest.begin(), input.largest.end()); }

// Without the outliers; all of the input where nothing else is left of it.
float range_of_input(const InputStatistics& input, double outlier_share) {
  const float largest = largest_of(input), range = input.magnitudes.largest_without(outlier_share);
  return range < kLeastRange ? largest : std::min(range, largest);
}

W8a8Input static_input(const InputStatistics& input, const MethodOptions& options, bool shadow) {
  const float range = shadow ? range_of_input(input, options.shadow_share) : largest_of(input);
  if (range < kLeastRange) return {};
  return {range / kInputLevels, shadow};
}

class Shadow final : public Method {
 public:
  std::string_view name() const override { return "shadow"; }
  std::string_view description() const override {
    return "static 8-bit weights and activations, outliers of the inputs that need it computed beside";
  }
  std::string_view paper() const override { return "Xu et al. 2024"; }
  std::vector<std::string_view> options() const override {
    return {"--shadow-share", "--shadow-threshold", "--shadow-prune"};
  }
  std::string_view usual_codec() const override { return "W8A8"; }
  Needs needs() const override { return Needs::kStatistics; }
  bool can_target(const Target& target) const override { return w8a8_codec(*target.codec) != nullptr; }

  void prepare(MethodOptions& options, const WholeModel& model) const override {
    struct Importance {
      std::string input;  // its first linear
      float beyond;       // largest magnitude over the range
    };
    std::vector<Importance> inputs;
    model.each_layer([&](const LayerWork& work) {
      for (const Linears& linears : work.linears_by_input()) {
        const std::string& first = linears.front();
        const InputStatistics& input = work.input_of(first);
        const float largest = largest_of(input);
        inputs.push_back({first, largest > 0 ? largest / range_of_input(input, options.shadow_share) : 1});
        log_debug("{}: largest input {:.4g}, {:.3g} times the range", first, largest, inputs.back().beyond);
      }
    });
    std::stable_sort(inputs.begin(), inputs.end(),
                     [](const Importance& a, const Importance& b) { return a.beyond < b.beyond; });
    const auto pruned = static_cast<std::size_t>(std::lround(options.shadow_prune * static_cast<float>(inputs.size())));
    for (std::size_t i = pruned; i < inputs.size(); ++i) {
      if (inputs[i].beyond > options.shadow_threshold) options.shadows.insert(inputs[i].input);
    }
    log_info("{} of {} inputs keep their outliers", options.shadows.size(), inputs.size());
  }

  void quantize(LayerWork& work) const override {
    for (const Linears& linears : work.linears_by_input()) {
      interrupt_token().check();
      const std::string& first = linears.front();
      const W8a8Input input = static_input(work.input_of(first), work.options, work.options.shadows.contains(first));
      for (const std::string& linear : linears) {
        const std::string name = linear + ".weight";
        work.packed[name] = pack_w8a8(name, work.shape(name), work.checked_values(name), input);
      }
    }
  }
};

}  // namespace

const Method& shadow_method() {
  static const Shadow kMethod;
  return kMethod;
}

}  // namespace lathe::quant
