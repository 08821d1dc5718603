// Chooses between the kernels for integer groups, and lays out what they share.
#include "kernels/cpu/int_group.h"

#include "base/half.h"
#include "tensor/codecs/int_group.h"

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
  out.zero = symmetric_zero(out.bits);
  out.tile_rows = tile_rows;
  out.chunks = (cols + columns - 1) / columns * (columns / kIntChunk);
  out.groups = int_groups(weight.params, cols);
  out.group_chunks = out.groups == 1 ? out.chunks : int_group_columns(weight.params, cols) / kIntChunk;
  out.scales.resize(tiles * out.groups * tile_rows);
  const bool symmetric = int_group_codec(*weight.codec)->symmetric();
  if (!symmetric) out.zeros.resize(out.scales.size());
  std::vector<IntGrid> grids(out.groups);
  for (std::size_t row = 0; row < rows; ++row) {
    int_group_grids(weight, row, grids);
    for (std::size_t g = 0; g < out.groups; ++g) {
      const std::size_t at = (row / tile_rows * out.groups + g) * tile_rows + row % tile_rows;
      out.scales[at] = half_from_float(grids[g].scale);
      if (!symmetric) out.zeros[at] = static_cast<std::uint8_t>(grids[g].zero);
    }
  }
  return out;
}

std::optional<Matmul> int_group_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  const int bits = weight.params.bits;
  const bool zeros = !int_group_codec(*weight.codec)->symmetric();
  const IntKernel dot = int_groups_align(weight, kIntChunk) ? int_group_dot(kernels, bits, zeros) : IntKernel{};
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

}  // namespace lathe::kernels::cpu
