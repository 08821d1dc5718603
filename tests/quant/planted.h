// The small model that ships, with outliers, and how far two models' outputs lie apart.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "formats/model_file.h"
#include "quant/outliers.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::quant {

inline formats::ModelFile planted_model(float size, const std::vector<std::size_t>& channels) {
  formats::ModelFile model = formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf");
  std::vector<std::uint32_t> layers(model.architecture.n_layers);
  std::iota(layers.begin(), layers.end(), 0u);
  return with_outliers(std::move(model), size, channels, layers);
}

// Mean squared difference of logits over `ids`, relative to the variance of a's.
inline double distance(const formats::ModelFile& a, const formats::ModelFile& b, std::span<const std::int32_t> ids) {
  const auto logits = [&](const formats::ModelFile& model) {
    return test::Executor(model.architecture, model.weights, test::cpu(2)).logits(ids);
  };
  const std::vector<float> x = logits(a), y = logits(b);
  double error = 0, sum = 0, squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += std::pow(double{x[i]} - y[i], 2);
    sum += x[i], squares += double{x[i]} * x[i];
  }
  return error / (squares - sum * sum / static_cast<double>(x.size()));
}

}  // namespace lathe::quant
