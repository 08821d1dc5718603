// What applications see of a model that turns text into vectors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lathe::api {

enum class Pooling : std::uint8_t { kMean, kCls, kLast };

struct EmbedOptions {
  Pooling pooling = Pooling::kMean;
  bool normalize = false;  // to unit Euclidean length
};

class Embedder {
 public:
  virtual ~Embedder() = default;
  virtual std::uint32_t dimension() const = 0;
  // One vector of dimension() floats per text.
  virtual std::vector<std::vector<float>> embed(std::span<const std::string> texts,
                                                const EmbedOptions& options = {}) = 0;
};

}  // namespace lathe::api
