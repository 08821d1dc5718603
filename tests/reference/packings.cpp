#include "reference/packings.h"

#include <fmt/core.h>

#include "base/error.h"

namespace lathe::test {

std::string Packing::name() const {
  std::string name(codec->name());
  if (params.bits > 0) name += fmt::format("_{}_{}", params.bits, params.group_size);
  if (params.activation_bits > 0) name += fmt::format("_a{}", params.activation_bits);
  return name;
}

bool holds(const Packing& packing, const Shape& shape) {
  try {
    packing.codec->parts(shape, packing.params);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<Packing> packings() {
  std::vector<Packing> all;
  for (const Codec* codec : all_codecs()) {
    if (!codec->can_encode()) continue;
    if (block_format(*codec) != nullptr || codec->usual_params() == CodecParams{}) {
      all.push_back({codec, {}});
      continue;
    }
    for (int bits = 1; bits <= 8; ++bits) {
      for (const int group : {bits % 3 == 0 ? 0 : bits % 3 == 1 ? 128 : 64, codec->usual_params().group_size}) {
        if (!holds({codec, {bits, group}}, Shape{1, 256})) continue;
        all.push_back({codec, {bits, group}});
        break;
      }
    }
  }
  return all;
}

std::vector<Packing> with_activation_bits(const std::vector<Packing>& packings, int bits) {
  std::vector<Packing> all;
  for (Packing packing : packings) {
    if (!packing.codec->takes_activation_bits()) continue;
    packing.params.activation_bits = bits;
    all.push_back(packing);
  }
  return all;
}

TinyModel packed(const TinyModel& plain, const Packing& packing, std::size_t* packed) {
  TinyModel model{plain.architecture, {}, {}};
  for (const auto& [name, tensor] : plain.weights.all()) {
    const bool fits = tensor.shape.rank() >= 2 && holds(packing, tensor.shape);
    model.weights.add(fits ? repack(tensor, *packing.codec, packing.params) : tensor);
    if (packed != nullptr) *packed += fits;
  }
  return model;
}

TinyModel unpacked(const TinyModel& model) {
  TinyModel floats{model.architecture, {}, {}};
  for (const auto& [name, tensor] : model.weights.all()) {
    floats.weights.add(pack(name, codec_named("F32"), tensor.shape, tensor.to_floats()));
  }
  return floats;
}

}  // namespace lathe::test
