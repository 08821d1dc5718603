// lathe bench matmul: one linear layer at a time, for each codec, kernel and shape: how long a product takes with the
// weight in the cache and with the weight coming from memory.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "cli/codec_args.h"
#include "cli/common.h"
#include "cli/kernel_timing.h"
#include "cli/verbs.h"
#include "kernels/backend.h"
#include "tensor/packed_tensor.h"

namespace lathe::cli {
namespace {

constexpr std::uint64_t kPatternRows = 64;
constexpr std::uint64_t kSizeColumns = 128;  // of one size
constexpr float kSizes[] = {1, 0.25f, 1, 4};

struct Shape2 {
  std::uint64_t rows, cols;
};

struct Result {
  std::string codec, kernel;
  Shape2 shape;
  std::uint64_t batch, bytes;
  double cached, streamed;  // seconds of a product
};

// A codec as the command line names it.
struct NamedCodec {
  std::string text;
  quant::Target target;
};

NamedCodec codec_from(const std::string& text) { return {text, codec_target(text, "--codec")}; }

Shape2 shape_from(const std::string& text) {
  const std::vector<std::string> sides = split(text, 'x');
  if (sides.size() != 2) throw UsageError(fmt::format("--shape: '{}' is not OUTPUTSxINPUTS", text));
  return {positive_number(sides[0], "--shape"), positive_number(sides[1], "--shape")};
}

void check_fits(const NamedCodec& codec, Shape2 shape) {
  try {
    codec.target.codec->parts(Shape{shape.rows, shape.cols}, codec.target.params);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--codec {} for {}x{}: {}", codec.text, shape.rows, shape.cols, error.problem()), {},
                     error.remedy());
  }
}

// Random weights: a few rows are packed and repeated, where they stand alone. Runs of columns differ in size, so that
// codecs that spend bits where they are needed spend them unevenly.
PackedTensor random_weight(const Codec& codec, const CodecParams& params, Shape2 shape) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const std::uint64_t rows = codec.rows_stand_alone() ? std::min(kPatternRows, shape.rows) : shape.rows;
  std::vector<float> values(rows * shape.cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = normal(random) * kSizes[i % shape.cols / kSizeColumns % std::size(kSizes)];
  }
  PackedTensor pattern = pack("weight", codec, Shape{rows, shape.cols}, values, params);
  if (rows == shape.rows) return pattern;
  std::vector<Bytes> parts;
  for (const Part& part : pattern.parts) {
    const std::uint64_t stride = part.data.size() / rows;
    auto buffer = std::make_shared<std::vector<std::byte>>(stride * shape.rows);
    for (std::uint64_t row = 0; row < shape.rows; ++row) {
      std::memcpy(buffer->data() + row * stride, part.data.data() + row % rows * stride, stride);
    }
    parts.emplace_back(*buffer, "weight", buffer);
  }
  return packed_parts("weight", codec, Shape{shape.rows, shape.cols}, params, std::move(parts));
}

// Median seconds of one product, running over `weights` in turn.
double time_products(kernels::Backend& backend, kernels::Stream& stream, kernels::DeviceTensor x,
                     kernels::DeviceTensor out,
                     const std::vector<std::shared_ptr<const kernels::PreparedLinear>>& weights) {
  return median_seconds(weights.size(), [&](std::size_t i) {
    const kernels::LinearCall call{weights[i].get(), out, false};
    backend.linear(stream, x, std::span(&call, 1));
    backend.synchronize(stream);
  });
}

Result measure(kernels::Backend& backend, const NamedCodec& codec, Shape2 shape, std::uint64_t batch) {
  const PackedTensor weight = random_weight(*codec.target.codec, codec.target.params, shape);
  const auto stream = backend.make_stream();
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> input(batch * shape.cols);
  for (float& value : input) value = normal(random);
  const kernels::DeviceBuffer x = backend.upload_floats(*stream, input);
  const kernels::DeviceBuffer y = backend.allocate(batch * shape.rows * sizeof(float));
  const auto in = kernels::DeviceTensor::dense(x.data(), batch, shape.cols);
  const auto out = kernels::DeviceTensor::dense(y.data(), batch, shape.rows);
  std::vector<std::shared_ptr<const kernels::PreparedLinear>> weights;
  Linear linear;
  linear.weight = weight;
  weights.push_back(backend.prepare(linear));
  Result result{codec.text, std::string(weights[0]->kernel()), shape, batch, weights[0]->bytes(), 0, 0};
  result.cached = time_products(backend, *stream, in, out, weights);
  while (weights.size() * weights[0]->bytes() < kBeyondCaches) {
    for (Part& part : linear.weight.parts) part.data = Bytes::copy_of(part.data.span(), "weight");  // pages of its own
    weights.push_back(backend.prepare(linear));
  }
  result.streamed = time_products(backend, *stream, in, out, weights);
  return result;
}

}  // namespace

int bench_matmul_verb(Arguments arguments) {
  OutputArgs output;
  std::string codecs = "INT_SYM:1:128,INT_SYM:2:128,INT_SYM:3:128,INT_SYM:4:128,Q4_0,F32", shapes = "4096x4096",
              kernels_text = "auto+dot,auto+lut", batches = "1";
  std::uint32_t threads = 0;
  Options options("bench matmul", "[options]",
                  "Times one linear layer, [outputs]x[inputs], for every codec, kernel, shape and batch: with its "
                  "weight in the cache, and with enough weights in turn that each comes from memory.");
  options.value("--codec", codecs, "LIST", "codecs, as CODEC[:BITS:GROUP[:ACTIVATION BITS]]");
  options.value("--shape", shapes, "LIST", "shapes of the weight, as OUTPUTSxINPUTS");
  options.value("--kernel", kernels_text, "LIST", "kernels, as --kernel of lathe run");
  options.value("--batch", batches, "LIST", "rows of input");
  options.value("-t,--threads", threads, "N", "threads; 0: every core this process may use");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  std::vector<NamedCodec> named;
  for (const std::string& text : split(codecs, ',')) named.push_back(codec_from(text));
  std::vector<Shape2> sides;
  for (const std::string& text : split(shapes, ',')) {
    sides.push_back(shape_from(text));
    for (const NamedCodec& codec : named) check_fits(codec, sides.back());
  }
  const std::vector<std::uint64_t> sizes = positive_numbers(batches, "--batch");
  const auto backends = backends_for(kernels_text, threads);

  Json rows = Json::array();
  if (!output.json) {
    print_text(fmt::format("{:<20}{:<46}{:>12}{:>6}{:>11}{:>9}{:>11}{:>9}\n", "codec", "kernel", "shape", "batch",
                           "cached us", "GB/s", "memory us", "GB/s"));
  }
  for (const auto& backend : backends) {
    for (const Shape2 shape : sides) {
      for (const std::uint64_t batch : sizes) {
        for (const NamedCodec& codec : named) {
          const Result r = measure(*backend, codec, shape, batch);
          const double gb = static_cast<double>(r.bytes) * 1e-9;
          if (!output.json) {
            print_text(fmt::format("{:<20}{:<46}{:>12}{:>6}{:>11.1f}{:>9.1f}{:>11.1f}{:>9.1f}\n", r.codec, r.kernel,
                                   fmt::format("{}x{}", shape.rows, shape.cols), r.batch, 1e6 * r.cached, gb / r.cached,
                                   1e6 * r.streamed, gb / r.streamed));
          }
          rows.push_back({{"codec", r.codec},
                          {"kernel", r.kernel},
                          {"shape", Json::array({shape.rows, shape.cols})},
                          {"batch", r.batch},
                          {"bytes", r.bytes},
                          {"cached_seconds", r.cached},
                          {"streamed_seconds", r.streamed},
                          {"streamed_gbps", gb / r.streamed}});
        }
      }
    }
  }
  if (output.json) print_json({{"rows", std::move(rows)}});
  return kExitSuccess;
}

}  // namespace lathe::cli
