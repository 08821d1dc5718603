// Activations as tables (ActivationFormat::kLut) for weights that are bit planes, after T-MAC (Wei et al. 2025, section
// 3): for each 4 columns, the 16 sums of x_j with every combination of signs, sign j positive where bit j of the index
// is set. An entry is a byte, 128 + round(sum / scale), with one scale per 64 columns; then a table is one 16-byte
// vector, and looking up is one byte shuffle. scale is 0 for a block of zeros and NaN when the block is not finite.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lathe::kernels::cpu {

inline constexpr std::size_t kLutBlock = 64;       // columns per scale
inline constexpr std::size_t kLutTableBytes = 16;  // per 4 columns
inline constexpr int kLutZero = 128;

struct LutMeta {
  float scale;
  float sum;  // of the block's activations
};

// Rows of tables; rows are padded with zeros to whole blocks.
struct LutInput {
  const std::uint8_t* tables = nullptr;  // [rows][blocks][kLutBlock / 4][16]
  const LutMeta* meta = nullptr;         // [rows][blocks]
};

}  // namespace lathe::kernels::cpu
