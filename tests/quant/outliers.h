// Outliers planted into a model by a change of scale that no output sees.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe::quant {

// `model` with channels of some layers' norms made `size` times as large and the consumers' columns as much smaller:
// with a power of two the same function to the last bit. Of models whose layers are Llama's.
inline formats::ModelFile with_outliers(formats::ModelFile model, float size, const std::vector<std::size_t>& channels,
                                        const std::vector<std::uint32_t>& layers) {
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
  for (const std::uint32_t layer : layers) {
    const std::string prefix = fmt::format("blk.{}.", layer);
    for (const char* norm : {"attn_norm", "ffn_norm"}) scale(prefix + norm + ".weight", size);
    for (const char* linear : {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"}) {
      scale(prefix + linear + ".weight", 1 / size);
    }
  }
  return model;
}

}  // namespace lathe::quant
