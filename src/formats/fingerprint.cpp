#include "formats/fingerprint.h"

#include <algorithm>

#include "base/hash.h"
#include "base/json.h"
#include "formats/architecture_json.h"

namespace lathe::formats {
namespace {

constexpr std::uint64_t kEnd = 4096;  // bytes of a part that are looked at from either side

// Everything about a tensor but its bytes.
std::uint64_t hash_header(const PackedTensor& tensor, std::uint64_t seed) {
  seed = hash64(tensor.name, seed);
  seed = hash64(tensor.codec->name(), seed);
  const CodecParams& params = tensor.params;
  for (const std::uint64_t value :
       {static_cast<std::uint64_t>(params.bits), static_cast<std::uint64_t>(params.group_size),
        static_cast<std::uint64_t>(params.row_shift), params.stored,
        static_cast<std::uint64_t>(params.activation_bits)})
    seed = hash64_value(value, seed);
  for (int axis = 0; axis < tensor.shape.rank(); ++axis) seed = hash64_value(tensor.shape[axis], seed);
  return seed;
}

}  // namespace

std::uint64_t fingerprint(const ModelFile& model) {
  std::uint64_t hash =
      hash64(architecture_to_json(model.architecture).dump(-1, ' ', false, Json::error_handler_t::replace));
  for (const auto& [name, tensor] : model.weights.all()) {
    hash = hash_header(tensor, hash);
    for (const Part& part : tensor.parts) {
      const std::span<const std::byte> bytes = part.data.span();
      const std::uint64_t end = std::min<std::uint64_t>(bytes.size(), kEnd);
      hash = hash64_value<std::uint64_t>(bytes.size(), hash);
      hash = hash64(bytes.first(end), hash);
      hash = hash64(bytes.last(end), hash);
    }
  }
  return hash;
}

std::uint64_t fingerprint(const AdapterFile& adapter) {
  std::uint64_t hash = 0;
  for (const auto& [weight, tensors] : adapter.low_rank) {
    hash = hash64(weight, hash);
    hash = hash64_value(tensors.scale, hash);
    for (const PackedTensor* tensor : {&tensors.a, &tensors.b}) {
      hash = hash_header(*tensor, hash);
      for (const Part& part : tensor->parts) hash = hash64(part.data.span(), hash);
    }
  }
  return hash;
}

}  // namespace lathe::formats
