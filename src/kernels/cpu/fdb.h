// Products with FDB weights (tensor/codecs/fdb.h), laid out once when the layer is prepared.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/laid_out.h"

namespace lathe::kernels::cpu {

struct FdbWeight final : LaidOut {
  BitPlanes codes;
  std::size_t groups = 0;                    // of a row
  std::size_t group_chunks = 0;              // 32 columns each, per group
  std::vector<std::uint16_t> first, second;  // half precision, [tiles][groups][tile_rows]

  std::uint64_t bytes() const override { return codes.bytes + 2 * (first.size() + second.size()); }
};

// Nothing where groups are not multiples of 32 columns.
std::optional<Matmul> fdb_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
