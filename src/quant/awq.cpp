// Activation-aware scaling (Lin et al. 2024, "AWQ", section 3.2): columns whose inputs are large are multiplied by a
// factor before rounding, and the factor is folded into whatever makes the input, so that the columns that matter lose
// less. Per input, s = (mean |x|)^alpha, scaled so that its largest and smallest value are each other's reciprocal,
// with the alpha out of 20 whose rounded weights leave the smallest error in the outputs of the linears that read the
// input. (The paper measures the error behind the whole block; here it is that of the products themselves, from the sum
// of x x^T, which needs no further passes.)
#include <cmath>

#include "base/cancel.h"
#include "quant/merge.h"
#include "quant/method.h"

namespace lathe::quant {
namespace {

constexpr int kAlphas = 20;

std::vector<float> scale_for(const InputStatistics& input, const ScaleSite& site, float alpha) {
  std::vector<float> scale = input.mean_abs();
  float largest = 0, smallest = INFINITY;
  for (float& s : scale) s = std::max(1e-4f, std::pow(std::max(s, 1e-8f), alpha));
  tie_scale(site, scale);
  for (const float s : scale) largest = std::max(largest, s), smallest = std::min(smallest, s);
  const float middle = std::sqrt(largest * smallest);
  for (float& s : scale) s /= middle;
  return scale;
}

// d^T G d summed over the rows of a consumer of the site, with d = rounded - weight, weight and rounded as the input is
// scaled, and G its own input's.
double output_error(LayerWork& work, const std::string& consumer, const std::vector<float>& scale) {
  const InputStatistics& input = work.input_of(consumer);
  const std::size_t n = input.columns();
  std::vector<float> importance = input.mean_squares();
  for (std::size_t i = 0; i < n; ++i) importance[i] /= scale[i] * scale[i];
  const std::string name = consumer + ".weight";
  const std::vector<float>& weight = work.values(name);
  std::vector<float> scaled(weight.size());
  const std::size_t rows = work.shape(name).rows();
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < n; ++i) scaled[r * n + i] = weight[r * n + i] * scale[i];
  std::vector<float> off =
      pack_rows(name, work.target_of(name), work.shape(name), scaled, importance, *work.pool).to_floats();
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < n; ++i) off[r * n + i] = (off[r * n + i] - scaled[r * n + i]) / scale[i];
  // off * G as a linear layer: G is symmetric.
  Linear gram;
  gram.weight = packed_blocks("calibration", codec_named("F32"), Shape{n, n},
                              Bytes(std::as_bytes(std::span(input.gram)), "calibration"));
  const auto prepared = work.backend->prepare(gram);
  const auto stream = work.backend->make_stream();
  const kernels::DeviceBuffer x = work.backend->upload_floats(*stream, off);
  const kernels::DeviceBuffer y = work.backend->allocate(off.size() * sizeof(float));
  const kernels::LinearCall call{prepared.get(), kernels::DeviceTensor::dense(y.data(), rows, n)};
  work.backend->linear(*stream, kernels::DeviceTensor::dense(x.data(), rows, n), std::span(&call, 1));
  std::vector<float> product(off.size());
  work.backend->download(*stream, product.data(), y.data(), y.bytes);
  double error = 0;
  for (std::size_t i = 0; i < off.size(); ++i) error += static_cast<double>(off[i]) * product[i];
  return error / input.experts;
}

double output_error(LayerWork& work, const ScaleSite& site, const std::vector<float>& scale) {
  double total = 0;
  for (const std::string& consumer : site.consumers) total += output_error(work, consumer, scale);
  return total;
}

class Awq final : public Method {
 public:
  std::string_view name() const override { return "awq"; }
  std::string_view description() const override {
    return "columns with large inputs are scaled up before rounding, per layer";
  }
  std::string_view paper() const override { return "Lin et al. 2024"; }
  Needs needs() const override { return Needs::kGram; }
  bool can_target(const Target& target) const override { return target.codec->can_encode(); }

  void quantize(LayerWork& work) const override {
    for (const ScaleSite& site : scale_sites(work)) {
      const InputStatistics& input = work.input_of(site.input);
      std::vector<float> best(input.columns(), 1.0f);
      double least = output_error(work, site, best);
      for (int step = 1; step < kAlphas; ++step) {
        interrupt_token().check();
        const std::vector<float> scale = scale_for(input, site, static_cast<float>(step) / kAlphas);
        const double error = output_error(work, site, scale);
        if (error < least) least = error, best = scale;
      }
      fold_scale(work, site, best);
    }
    for (const Linears& linears : work.linears_by_input()) {
      const std::vector<float> importance = work.input_of(linears.front()).mean_squares();
      for (const std::string& linear : linears) work.round_to_target(linear + ".weight", importance);
    }
    work.keep_changed();
  }
};

}  // namespace

const Method& awq_method() {
  static const Awq kMethod;
  return kMethod;
}

}  // namespace lathe::quant
