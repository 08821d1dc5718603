// The small model that ships, with outliers planted into it by a change of scale that no output sees, and how far two
// models' outputs lie apart.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::quant {

// Channels of every norm made `size` times as large and the consumers' columns as much smaller: with a power of two the
// same function to the last bit.
inline formats::ModelFile planted_model(float size, const std::vector<std::size_t>& channels) {
  formats::ModelFile model = formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf");
  const auto scale = [&](const std::string& name, float factor) {
    const PackedTensor tensor = model.weights.at(name);
    std::vector<float> values = tensor.to_floats();
    const std::size_t columns = tensor.shape.cols();
    for (const std::size_t channel : channels) {
      for (std::size_t i = channel; i < values.size(); i += columns) values[i] *= factor;
    }
    model.weights.remove(name);
    model.weights.add(pack(name, codec_named("F32"), tensor.shape, values));
  };
  for (std::uint32_t layer = 0; layer < model.architecture.n_layers; ++layer) {
    const std::string prefix = fmt::format("blk.{}.", layer);
    for (const char* norm : {"attn_norm", "ffn_norm"}) scale(prefix + norm + ".weight", size);
    for (const char* linear : {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"}) {
      scale(prefix + linear + ".weight", 1 / size);
    }
  }
  return model;
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
