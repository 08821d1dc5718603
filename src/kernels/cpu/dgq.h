// Products with DGQ weights (tensor/codecs/dgq.h), laid out once when the layer is prepared.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/laid_out.h"

namespace lathe::kernels::cpu {

// Products of so many columns fit into 32 bits, at 127 * 127 each; longer rows are added up in parts, as floats.
inline constexpr std::size_t kDgqPartColumns = std::size_t{1} << 17;
static_assert(kDgqPartColumns * 127 * 127 < std::size_t{1} << 31);

struct DgqWeight final : LaidOut {
  BitPlanes codes;
  std::size_t groups = 0;                   // of a row
  std::size_t group_chunks = 0;             // 32 columns each, per group
  std::vector<std::uint8_t> scales, zeros;  // [tiles][groups][tile_rows]
  std::vector<float> factors;               // [tiles][tile_rows]

  std::uint64_t bytes() const override {
    return codes.bytes + scales.size() + zeros.size() + factors.size() * sizeof(float);
  }
};

// Throws an Error naming the tensor when it holds numbers that the codec does not have.
DgqWeight lay_out_dgq(const PackedTensor& weight, std::size_t tile_rows);

// Nothing where groups are not multiples of 32 columns.
std::optional<Matmul> dgq_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
