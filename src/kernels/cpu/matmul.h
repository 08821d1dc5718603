// What a matrix-product kernel is given, and the table of kernels. A kernel computes some output features of every row:
// out[r][o] = sum over i of weight[o][i] * x[r][i] (+ bias[o]). For each pair (r, o) the order of operations over i is
// fixed by the kernel alone, never by how many rows or features a call has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/lut_input.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/plane_input.h"
#include "kernels/cpu/q8_input.h"
#include "kernels/cpu/tiles.h"
#include "tensor/activation_format.h"
#include "tensor/packed_tensor.h"

namespace lathe::kernels::cpu {

// A weight as its kernel wants it, made once when the layer is prepared; each kernel knows its own kind.
struct LaidOut {
  virtual ~LaidOut() = default;
  virtual std::uint64_t bytes() const = 0;
};

struct MatmulJob {
  // [out_features, in_features]: the tensor and its "blocks" part, if it has one, or (kernels of tiles) just the tiles.
  const PackedTensor* weight = nullptr;
  const std::byte* blocks = nullptr;
  const LaidOut* laid_out = nullptr;  // instead of both, where the kernel has a layout of its own
  std::size_t out_features = 0, in_features = 0;
  // The input in the kernel's format. Floats: rows x_stride apart.
  const float* x = nullptr;
  std::size_t x_stride = 0;
  Q8Input q8;
  Q8RowInput q8_row;
  LutInput lut;
  PlaneInput planes;
  std::size_t rows = 0;
  float* out = nullptr;
  std::size_t out_stride = 0;
  const float* bias = nullptr;  // out_features, or nullptr
  bool accumulate = false;
};

inline constexpr std::size_t kTileRows = 16;  // output features most kernels take together

// Output features [begin, end) of every row.
using MatmulFunction = void (*)(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch);

struct MatmulKernel {
  MatmulFunction run = nullptr;
  TileFormat tiles;  // how the weights have to lie
};

struct Matmul {
  std::string_view name;  // "q8_0 x q8"
  ActivationFormat format;
  MatmulKernel kernel;
  std::size_t tile_rows = kTileRows;             // ranges of output features begin at multiples of this
  std::shared_ptr<const LaidOut> laid_out = {};  // the weight for the kernel, which then does not read its parts
  PlaneFormat planes = {};                       // of ActivationFormat::kPlanes
  Q8RowFormat row = {};                          // of ActivationFormat::kQ8Row
  std::vector<std::uint32_t> input_order = {};   // empty, or which column of the weight the kernel's column i is
};

// The kernel for a weight; every codec has one, if only by decoding to floats.
Matmul find_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
