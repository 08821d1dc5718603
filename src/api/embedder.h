// What applications see of a model that turns text into vectors.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lathe::api {

enum class Pooling : std::uint8_t { kMean, kCls, kLast };

struct EmbedOptions {
  // Absent: what the model's makers do.
  std::optional<Pooling> pooling;
  std::optional<bool> normalize;  // to unit Euclidean length
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
