// Chooses between the kernels for integer groups, and lays out what they share.
#include "kernels/cpu/int_group.h"

#include "base/half.h"
#include "kernels/cpu/laid_out.h"
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

namespace {

// The product by `kernel`, whose chunks are `columns` wide; nothing where the target has none.
std::optional<Matmul> product_by(const IntKernel& kernel, std::string_view name, ActivationFormat format,
                                 const PackedTensor& weight, std::size_t columns) {
  return laid_out_matmul(name, format, {kernel.run, kernel.tile_rows}, weight,
                         [&](const PackedTensor& tensor, std::size_t tile_rows) {
                           IntWeight out = make_int_weight(tensor, tile_rows, columns);
                           kernel.fill(tensor, out);
                           return out;
                         });
}

// With activations of the width that the weight asks for, which is what its products mean on every machine.
Matmul planes_product(const PackedTensor& weight, const KernelSet& kernels) {
  constexpr std::string_view kName = "integer groups x bit planes";
  const IntGroupCodec& codec = *int_group_codec(*weight.codec);
  std::optional<Matmul> matmul;
  if (!kernels.scalar && int_groups_align(weight, kPlaneChunk)) {
    matmul = product_by(int_group_planes(kernels, weight.params.bits, codec.stores_zeros()), kName,
                        ActivationFormat::kPlanes, weight, kPlaneChunk);
  }
  if (!matmul) {
    matmul = Matmul{kName, ActivationFormat::kPlanes, {reference_planes_matmul, {}}};
    matmul->laid_out = std::make_shared<KeptIntegers>(weight);
  }
  matmul->planes = {weight.params.activation_bits, codec.kind() == IntGroupKind::kBipolar};
  return *matmul;
}

}  // namespace

std::optional<Matmul> int_group_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  if (weight.params.activation_bits > 0) return planes_product(weight, kernels);
  if (kernels.scalar) return std::nullopt;
  const int bits = weight.params.bits;
  const IntGroupCodec& codec = *int_group_codec(*weight.codec);
  const IntKernel dot = int_groups_align(weight, kIntChunk) ? int_group_dot(kernels, bits, codec.kind()) : IntKernel{};
  const IntKernel lut =
      int_groups_align(weight, kLutBlock) ? int_group_lut(kernels, bits, codec.stores_zeros()) : IntKernel{};
  const bool fast = kernels.integers == IntegerKernel::kLutFast;
  if (lut.run != nullptr && (fast || kernels.integers == IntegerKernel::kLut || dot.run == nullptr)) {
    return product_by(lut, fast ? "integer groups, averaged table look-up" : "integer groups, table look-up",
                      ActivationFormat::kLut, weight, kLutBlock);
  }
  return product_by(dot, "integer groups x q8", ActivationFormat::kQ8Block, weight, kIntChunk);
}

std::optional<Matmul> balanced_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  return int_group_matmul(balanced_as_integers(weight), kernels);
}

}  // namespace lathe::kernels::cpu
