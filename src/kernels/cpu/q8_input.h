// Activations as 8-bit integers: x is about scale * q, q in [-127, 127], with one scale per 32 columns
// (ActivationFormat::kQ8Block) or one per row (kQ8Row), and the integer sums that kernels of unsigned weights need to
// take their zero point out again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace lathe::kernels::cpu {

inline constexpr std::size_t kQ8Block = 32;
inline constexpr std::size_t kAmxRows = 16;      // of input that AMX multiplies at once
inline constexpr std::size_t kLeastAmxRows = 4;  // fewer are better off without

// A kernel broadcasts each of these straight from memory.
struct Q8Meta {
  float scale;               // 0 for a block of zeros; NaN when the block holds a NaN or an infinity
  float scaled_sum;          // scale * the sum of all 32 integers
  std::int32_t negated_sum;  // minus the sum of all 32 integers
  std::int16_t negated[2];   // minus the sums of the first and of the last 16
};

inline Q8Meta q8_meta(float scale, std::int32_t first, std::int32_t last) {
  return {scale,
          scale * static_cast<float>(first + last),
          -(first + last),
          {static_cast<std::int16_t>(-first), static_cast<std::int16_t>(-last)}};
}

// From a block's largest magnitude. Blocks too small to have an inverse, and those that are not finite, hold zeros.
struct Q8Scale {
  float scale, inverse;
};
inline Q8Scale q8_scale(float largest) {
  if (!(largest <= std::numeric_limits<float>::max())) return {std::numeric_limits<float>::quiet_NaN(), 0};
  if (largest < 1e-30f) return {0, 0};
  return {largest / 127, 127 / largest};
}

// What kAmxRows rows have for the same 32 columns.
struct AmxMeta {
  float scale[kAmxRows], scaled_sum[kAmxRows];
  std::int16_t negated[kAmxRows][2];

  void set(std::size_t row, const Q8Meta& meta) {
    scale[row] = meta.scale, scaled_sum[row] = meta.scaled_sum;
    negated[row][0] = meta.negated[0], negated[row][1] = meta.negated[1];
  }
  Q8Meta of(std::size_t row) const {
    const std::int16_t first = negated[row][0], last = negated[row][1];
    return {scale[row], scaled_sum[row], first + last, {first, last}};
  }
};

// Rows of quantized activations; in_features is a multiple of kQ8Block.
struct Q8Input {
  const std::int8_t* values = nullptr;  // [rows][in_features]
  const Q8Meta* meta = nullptr;         // [rows][in_features / kQ8Block]
  // The same for AMX; or nullptr.
  const std::int8_t* amx = nullptr;   // [rows / 16, rounded up][in_features / kQ8Block][16 rows][kQ8Block]
  const AmxMeta* amx_meta = nullptr;  // [rows / 16, rounded up][in_features / kQ8Block]
};

// How rows get their one scale (kQ8Row).
struct Q8RowFormat {
  float scale = 0;      // of every row; 0: each row has its own, that of its largest magnitude
  bool shadow = false;  // with a scale given: whether what lies beyond +-127 steps of it is kept, or cut off
  friend bool operator==(const Q8RowFormat&, const Q8RowFormat&) = default;
};

// What a rounded value has more than the +-127 that is kept of it.
struct Q8Outlier {
  std::uint32_t column;
  std::int32_t rest;
};

inline constexpr std::int32_t kQ8MostSteps = 1 << 22;  // outliers beyond that many steps count as so many

// Rows with one scale each, so that integer products can be added up over a whole row; in_features is a multiple of
// kQ8Block.
struct Q8RowInput {
  const std::int8_t* values = nullptr;  // [rows][in_features]
  const float* scales = nullptr;        // [rows]: as Q8Meta::scale, for a row
  // [rows][in_features / kQ8Block + 1]: the sum of the integers before each block of 32 columns; the last is the row's.
  const std::int32_t* sums = nullptr;
  // With a shadow; nullptr without.
  const Q8Outlier* outliers = nullptr;        // [rows][in_features]: the first of each row, by column
  const std::uint32_t* n_outliers = nullptr;  // [rows]
};

}  // namespace lathe::kernels::cpu
