// What kernels with a layout of their own share: how one says what a target offers, and the product made of it.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

// One row of weights per lane of a tile.
struct LaidOutKernel {
  MatmulFunction run = nullptr;  // nullptr: the target has none
  std::size_t tile_rows = 0;
};

// The product with `weight` as lay_out(weight, tile_rows) makes it; nothing where the target has no kernel.
template <class LayOut>
std::optional<Matmul> laid_out_matmul(std::string_view name, ActivationFormat format, const LaidOutKernel& kernel,
                                      const PackedTensor& weight, const LayOut& lay_out) {
  if (kernel.run == nullptr) return std::nullopt;
  Matmul matmul{name, format, {kernel.run, {}}};
  matmul.tile_rows = kernel.tile_rows;
  auto laid_out = lay_out(weight, kernel.tile_rows);
  matmul.laid_out = std::make_shared<const decltype(laid_out)>(std::move(laid_out));
  return matmul;
}

}  // namespace lathe::kernels::cpu
