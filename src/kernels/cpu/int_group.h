// Products with integer-group weights (INT_SYM, INT_ASYM, BIPOLAR), in three ways. All read a copy of the weight that
// is laid out for them once, when the layer is prepared: bits and scales of a tile of rows side by side, in the order
// they are used.
//
//   dot     planes are put together to integers and multiplied with 8-bit activations (int_group_dot.cpp)
//   lut     planes are indices into tables of sums of activations; nothing is multiplied (int_group_lut.cpp)
//   planes  bits of weights and activations are matched and counted (int_group_planes.cpp); for weights that ask for
//           activations of some width, and only for them
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/cpu/bit_planes.h"
#include "kernels/cpu/matmul.h"
#include "tensor/codecs/int_group.h"
#include "tensor/packed_tensor.h"

namespace lathe::kernels::cpu {

// A weight as one of the kernels reads it. Tiles of `tile_rows` rows, the last padded with zeros; chunks of 32 columns,
// the last padded likewise.
struct IntWeight final : LaidOut {
  int bits = 0;
  float zero = 0;  // of every group, where there are no zeros[]
  std::size_t tile_rows = 0;
  std::size_t chunks = 0;        // of a row
  std::size_t group_chunks = 0;  // chunks per scale
  std::size_t groups = 0;        // of a row
  std::shared_ptr<std::byte>
      planes;  // [tiles][chunks][tile_rows * bits * 4 bytes], 64-byte aligned; order: the kernel's
  std::vector<std::uint16_t> scales;  // half precision, [tiles][groups][tile_rows]
  std::vector<std::uint8_t> zeros;    // [tiles][groups][tile_rows], or empty
  std::uint64_t plane_bytes = 0;
  std::size_t segments = 0;               // of a row: pieces of groups of at most kSegmentChunks chunks
  std::vector<std::uint16_t> level_sums;  // of a segment, [tiles][segments][tile_rows]; only for the plane kernel
  std::uint64_t bytes() const override { return plane_bytes + 2 * (scales.size() + level_sums.size()) + zeros.size(); }
};

inline constexpr std::size_t kSegmentChunks = 8;  // 256 columns: sums of levels fit 16 bits, sums of bits in a byte do
inline constexpr std::size_t kExactColumns = 8192;  // added as integers: 4 * 8192 * 255 * 255 < 2^31

// Whether scales change only where chunks of `columns` do.
bool int_groups_align(const PackedTensor& weight, std::size_t columns);

// Everything but the planes. Rows are padded to a multiple of `columns`.
IntWeight make_int_weight(const PackedTensor& weight, std::size_t tile_rows, std::size_t columns);

// What a target offers: a function that lays a weight out, and the kernel that reads it.
struct IntKernel {
  std::size_t tile_rows = 0;  // 0: the target has none
  void (*fill)(const PackedTensor& weight, IntWeight& out) = nullptr;
  MatmulFunction run = nullptr;
};
IntKernel int_group_dot(const KernelSet& kernels, int bits, IntGroupKind kind);
IntKernel int_group_lut(const KernelSet& kernels, int bits, bool zeros);
IntKernel int_group_planes(const KernelSet& kernels, int bits, bool zeros);

// Products of planes for any grouping, one integer after another, with KeptIntegers; the same bits as the kernel's.
void reference_planes_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch);

// Integer groups as they are.
struct KeptIntegers final : LaidOut {
  explicit KeptIntegers(PackedTensor tensor) : weight(std::move(tensor)) {}
  PackedTensor weight;
  std::uint64_t bytes() const override { return weight.bytes(); }
};

// planes, for a weight that asks for activations of some width, in any kernel set. Else dot; or lut, where dot cannot
// do `weight` or the kernel set asks for it; nothing when neither can.
std::optional<Matmul> int_group_matmul(const PackedTensor& weight, const KernelSet& kernels);

// BALANCED weights are computed as integer groups of one bit more.
std::optional<Matmul> balanced_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
