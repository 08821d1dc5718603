// Products with W8A8 weights (tensor/codecs/w8a8.h), laid out once when the layer is prepared. Every sum is exact, so
// that they equal the products with inputs that no 8 bits limit:
//   a part of kW8a8PartColumns columns times +-127 stays within 32 bits; parts, and what outliers have more, are added
//   as doubles: 128 * kQ8MostSteps * kW8a8MostColumns = 2^52.
#pragma once

#include <optional>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/laid_out.h"
#include "tensor/codecs/w8a8.h"

namespace lathe::kernels::cpu {

inline constexpr std::size_t kW8a8PartColumns = std::size_t{1} << 17;
static_assert(kW8a8PartColumns * 128 * 127 < std::size_t{1} << 31);
static_assert(std::uint64_t{128} * kQ8MostSteps * kW8a8MostColumns < std::uint64_t{1} << 53);

struct W8a8Weight final : LaidOut {
  BitPlanes integers;  // of 8 bits: a word has 4 columns
  float scale = 0;

  std::uint64_t bytes() const override { return integers.bytes; }
};

// In any kernel set, because inputs are rounded as the weight says. Throws an Error naming the tensor when its scales
// are not such as the codec has.
std::optional<Matmul> w8a8_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
