// Products with BITMOD weights (tensor/codecs/bitmod.h), laid out once when the layer is prepared.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/laid_out.h"

namespace lathe::kernels::cpu {

struct BitmodWeight final : LaidOut {
  BitPlanes codes;
  std::size_t groups = 0;              // of a row
  std::size_t group_chunks = 0;        // 32 columns each, per group
  std::vector<std::uint8_t> scales;    // [tiles][groups][tile_rows]
  std::vector<std::int8_t> extras;     // likewise: the value of the extra code
  std::vector<std::uint16_t> factors;  // half precision, [tiles][tile_rows]

  std::uint64_t bytes() const override { return codes.bytes + scales.size() + extras.size() + 2 * factors.size(); }
};

BitmodWeight lay_out_bitmod(const PackedTensor& weight, std::size_t tile_rows);

// Nothing where groups are not multiples of 32 columns.
std::optional<Matmul> bitmod_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
