// What GPTQ costs beside the Hessian products that it cannot do without: quantizes MODEL at 4 bits and, before and
// after, multiplies the inputs of every linear of a layer with themselves as one would by itself: 2 K^2 operations for
// every token of K columns, all pairs, each linear its own, however many read the same input. Prints seconds and their
// ratio.
//
//   gptq_cost MODEL OUT.lathe TEXT SEQUENCES TOKENS
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <span>
#include <vector>

#include "arch/lower.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/model_file.h"
#include "kernels/backend.h"
#include "quant/method.h"
#include "quant/quantize_model.h"
#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// Seconds that the products of all linears of one layer take with so many sequences.
double product_seconds(const formats::ModelFile& model, const quant::CalibrationOptions& calibration) {
  const auto backend = kernels::make_cpu_backend({});
  const auto stream = backend->make_stream();
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  double seconds = 0;
  for (const arch::Op& op : arch::lower(model.architecture).ops) {
    if (op.layer != 0 || op.kind != arch::OpKind::kLinear) continue;
    for (const arch::LinearUse& use : op.linears) {
      const std::uint64_t n = model.weights.at(use.weight + ".weight").shape.cols();
      std::vector<float> columns(n * calibration.tokens);
      for (float& value : columns) value = normal(random);
      const kernels::DeviceBuffer input = backend->upload_floats(*stream, columns);
      const kernels::DeviceBuffer sums = backend->allocate(n * n * sizeof(float));
      Linear linear;
      linear.weight = packed_blocks("columns", codec_named("F32"), Shape{n, calibration.tokens},
                                    Bytes(std::as_bytes(std::span(columns)), "columns"));
      const auto weight = backend->prepare(linear);
      const kernels::LinearCall call{weight.get(), kernels::DeviceTensor::dense(sums.data(), n, n), true};
      const auto start = std::chrono::steady_clock::now();
      for (std::uint32_t i = 0; i < calibration.sequences; ++i) {
        backend->linear(*stream, kernels::DeviceTensor::dense(input.data(), n, calibration.tokens), {&call, 1});
      }
      backend->synchronize(*stream);
      seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  }
  return seconds;
}

void gptq_cost(const char* in, const char* out, const char* text, quant::CalibrationOptions calibration) {
  const formats::ModelFile model = formats::load_model(in);
  quant::QuantizeOptions options;
  options.method = &quant::method_named("gptq");
  options.target = {&codec_named("INT_SYM"), {4, 128}};
  options.embedding = options.head = quant::Target{&codec_named("Q8_0"), {}};
  options.calibration_source = text;
  options.calibration_text = read_file(text);
  options.calibration = calibration;
  const double before = product_seconds(model, calibration);
  const quant::QuantizeReport report = quant::quantize_model(model, out, options);
  const double after = product_seconds(model, calibration);
  const std::uint32_t layers = model.architecture.n_layers;
  const double products = (before + after) / 2 * layers;
  fmt::print("gptq {:.1f} s: capture {:.1f} (products {:.1f}), method {:.1f}, advance {:.1f}\n", report.seconds,
             report.capture_seconds, report.gram_seconds, report.method_seconds, report.advance_seconds);
  fmt::print("bare products of {} layers {:.1f} s (of one {:.2f} before, {:.2f} after): {:.2f} times\n", layers,
             products, before, after, report.seconds / products);
}

}  // namespace
}  // namespace lathe

int main(int argc, char** argv) {
  if (argc != 6) {
    fmt::print(stderr, "usage: gptq_cost MODEL OUT.lathe TEXT SEQUENCES TOKENS\n");
    return 2;
  }
  try {
    lathe::gptq_cost(argv[1], argv[2], argv[3],
                     {static_cast<std::uint32_t>(std::atoi(argv[4])), static_cast<std::uint32_t>(std::atoi(argv[5]))});
  } catch (const lathe::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
