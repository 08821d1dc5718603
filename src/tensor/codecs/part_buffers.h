// The parts of a tensor that is being packed: zeroed arrays of the sizes its codec asks for.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/packed_tensor.h"

namespace lathe {

class PartBuffers {
 public:
  explicit PartBuffers(std::vector<PartSpec> specs) : specs_(std::move(specs)) {
    for (const PartSpec& spec : specs_) {
      arrays_.push_back(std::make_shared<std::vector<std::byte>>(spec.shape.elements() * dtype_bytes(spec.dtype)));
    }
  }

  // The bytes of a part, in the order of the codec's parts().
  std::byte* operator[](std::size_t part) { return arrays_[part]->data(); }

  // Hands them over.
  PackedTensor finish(const std::string& name, const Codec& codec, const CodecParams& params, const Shape& shape) && {
    PackedTensor tensor{name, &codec, params, shape, {}};
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      tensor.parts.push_back({std::move(specs_[i]), Bytes(*arrays_[i], name, arrays_[i])});
    }
    return tensor;
  }

 private:
  std::vector<PartSpec> specs_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> arrays_;
};

}  // namespace lathe
