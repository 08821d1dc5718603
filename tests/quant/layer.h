// One layer of a small model with calibration made up for it, for tests of methods.
#pragma once

#include <cmath>
#include <random>

#include "quant/method.h"
#include "reference/tiny_model.h"

namespace lathe::quant {

using test::TinyModel;

inline Target int_target(std::string_view codec, int bits, int group) { return {&codec_named(codec), {bits, group}}; }

// The first layer of a model, with statistics of random inputs of very different sizes, correlated among each other.
struct Layer {
  explicit Layer(const arch::Architecture& a, Target target, std::uint64_t seed = 1)
      : model(test::make_tiny_model(a, "F32", seed)),
        ops(arch::lower(model.architecture)),
        backend(test::cpu(2)),
        pool(2),
        random(static_cast<unsigned>(seed)) {
    work.architecture = &model.architecture;
    work.ops = &ops;
    work.layer = 0;
    work.target = target;
    work.backend = backend.get();
    work.pool = &pool;
    for (const auto& [name, tensor] : model.weights.all()) {
      if (name.starts_with("blk.0.")) work.source[name] = tensor;
    }
    for (const Linears& linears : work.linears_by_input()) make_input(linears);
    for (const arch::Op& op : ops.ops) {
      if (op.layer != 0 || op.kind != arch::OpKind::kLinear) continue;
      const std::string& first = op.linears.front().weight;
      if (work.inputs.contains(first)) continue;
      // A router, which reads what shared experts read.
      if (op.linears.size() > 1) {
        work.inputs[first] = work.inputs.at(op.linears[1].weight);
      } else {
        make_input({first});
      }
    }
  }

  void make_input(const Linears& linears) {
    const std::size_t n = work.shape(linears[0] + ".weight").cols();
    auto input = std::make_shared<InputStatistics>(n);
    input->gram.resize(n * n);
    std::vector<float> x(n);
    TokenSample sample;
    for (input->tokens = 0; input->tokens < 3 * n; ++input->tokens) {
      const float common = normal(random);
      for (std::size_t i = 0; i < n; ++i) {
        x[i] = (normal(random) + common) * (i % 16 == 3 ? 10.0f : 1.0f);
        input->sum_abs[i] += std::abs(x[i]);
        input->sum_squares[i] += double{x[i]} * x[i];
        input->largest[i] = std::max(input->largest[i], std::abs(x[i]));
        input->magnitudes.add(std::abs(x[i]));
      }
      sample.add(x);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) input->gram[i * n + j] += x[i] * x[j];
      }
    }
    input->sample = sample.take();
    for (const std::string& linear : linears) work.inputs[linear] = input;
  }

  // tr(D G D^T) with D what rounding changed, relative to the same of the weights themselves.
  double output_error(const std::string& linear) {
    const std::vector<float> before = model.decoded.at(linear + ".weight"),
                             after = work.packed.at(linear + ".weight").to_floats();
    const std::vector<float>& gram = work.inputs.at(linear)->gram;
    const std::size_t n = work.inputs.at(linear)->columns();
    double error = 0, energy = 0;
    for (std::size_t row = 0; row < before.size() / n; ++row) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          const double g = gram[i * n + j];
          const auto at = [&](const std::vector<float>& w, std::size_t c) { return double{w[row * n + c]}; };
          error += g * (at(after, i) - at(before, i)) * (at(after, j) - at(before, j));
          energy += g * at(before, i) * at(before, j);
        }
      }
    }
    return error / energy;
  }

  TinyModel model;
  arch::OpList ops;
  std::shared_ptr<kernels::Backend> backend;
  ThreadPool pool;
  std::mt19937 random;
  std::normal_distribution<float> normal;
  LayerWork work;
};

}  // namespace lathe::quant
