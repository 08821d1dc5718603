// Chooses between the kernels for integer groups, and lays out what they share.
#include "kernels/cpu/int_group.h"

#include "base/half.h"
#include "tensor/codecs/balanced.h"

namespace lathe::kernels::cpu {
bool int_groups_align(const PackedTensor& weight, std::size_t columns) {
  return weight.params.group_size == 0 || static_cast<std::uint64_t>(weight.params.group_size) >= weight.shape.cols() ||
         static_cast<std::size_t>(weight.params.group_size) % columns == 0;
}

IntWeight make_int_weight(const PackedTensor& weight, std::size_t tile_rows, std::size_t columns) {
  const std::size_t rows = weight.shape.rows(), cols = weight.shape.cols();
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows;
  IntWeight out;
  out.bits = weight.params.bits;
  const IntGroupCodec& codec = *int_group_codec(*weight.codec);
  if (!codec.stores_zeros()) out.zero = fixed_zero(codec.kind(), out.bits);
  out.tile_rows = tile_rows;
  out.chunks = (cols + columns - 1) / columns * (columns / kIntChunk);
  out.groups = int_groups(weight.params, cols);
  out.group_chunks = out.groups == 1 ? out.chunks : int_group_columns(weight.params, cols) / kIntChunk;
  out.scales.resize(tiles * out.groups * tile_rows);
  if (codec.stores_zeros()) out.zeros.resize(out.scales.size());
  std::vector<IntGrid> grids(out.groups);
  for (std::size_t row = 0; row < rows; ++row) {
    int_group_grids(weight, row, grids);
    for (std::size_t g = 0; g < out.groups; ++g) {
      const std::size_t at = (row / tile_rows * out.groups + g) * tile_rows + row % tile_rows;
      out.scales[at] = half_from_float(grids[g].scale);
      if (codec.stores_zeros()) out.zeros[at] = static_cast<std::uint8_t>(grids[g].zero);
    }
  }
  return out;
}

std::optional<Matmul> int_group_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  const int bits = weight.params.bits;
  const IntGroupCodec& codec = *int_group_codec(*weight.codec);
  const bool zeros = codec.stores_zeros();
  const IntKernel dot = int_groups_align(weight, kIntChunk) ? int_group_dot(kernels, bits, codec.kind()) : IntKernel{};
  const IntKernel lut = int_groups_align(weight, kLutBlock) ? int_group_lut(kernels, bits, zeros) : IntKernel{};
  const bool prefer_lut = kernels.integers == IntegerKernel::kLut;
  const bool use_lut = lut.run != nullptr && (prefer_lut || dot.run == nullptr);
  const IntKernel& chosen = use_lut ? lut : dot;
  if (chosen.run == nullptr) return std::nullopt;
  Matmul matmul{use_lut ? "integer groups, table look-up" : "integer groups x q8",
                use_lut ? ActivationFormat::kLut : ActivationFormat::kQ8Block,
                {chosen.run, {}}};
  matmul.tile_rows = chosen.tile_rows;
  const auto laid_out =
      std::make_shared<IntWeight>(make_int_weight(weight, chosen.tile_rows, use_lut ? kLutBlock : kIntChunk));
  chosen.fill(weight, *laid_out);
  matmul.laid_out = laid_out;
  return matmul;
}

std::optional<Matmul> balanced_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  return int_group_matmul(balanced_as_integers(weight), kernels);
}

Matmul int_group_planes_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  if (balanced_codec(*weight.codec) != nullptr) return int_group_planes_matmul(balanced_as_integers(weight), kernels);
  const IntGroupCodec& codec = *int_group_codec(*weight.codec);
  Matmul matmul{"integer groups x bit planes", ActivationFormat::kPlanes, {reference_planes_matmul, {}}};
  matmul.planes = {weight.params.activation_bits, codec.kind() == IntGroupKind::kBipolar};
  const IntKernel fast = kernels.scalar || !int_groups_align(weight, kPlaneChunk)
                             ? IntKernel{}
                             : int_group_planes(kernels, weight.params.bits, codec.stores_zeros());
  if (fast.run == nullptr) {
    matmul.laid_out = std::make_shared<KeptIntegers>(weight);
    return matmul;
  }
  matmul.kernel.run = fast.run;
  matmul.tile_rows = fast.tile_rows;
  const auto laid_out = std::make_shared<IntWeight>(make_int_weight(weight, fast.tile_rows, kPlaneChunk));
  fast.fill(weight, *laid_out);
  matmul.laid_out = laid_out;
  return matmul;
}

}  // namespace lathe::kernels::cpu
