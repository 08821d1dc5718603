// Products of integers, plainly: the packed integers of a row of weights, and activations of 8 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lathe::kernels::ladder {

// Weights of one row, in groups of 16 or 32: weight i of group g is scales[g] * q[i] - minima[g].
struct IntegerRow {
  std::vector<std::int8_t> q;
  std::vector<float> scales, minima;
};

// How a codec keeps them.
struct IntegerFormat {
  std::string_view codec;
  std::size_t block, block_bytes, group;  // weights, bytes, weights
  // One block's q [block], scales and minima [block / group each]; minima are zero before.
  void (*unpack)(const std::byte* bytes, std::int8_t* q, float* scales, float* minima);

  void unpack_row(const std::byte* bytes, IntegerRow& row) const;  // row holds as many weights as it has q
};
// nullptr for codecs of floats.
const IntegerFormat* integer_format(std::string_view codec);
IntegerRow integer_row(const IntegerFormat& format, std::size_t columns);

// Rows of activations: x is about scale * q.
struct EightBitInput {
  std::size_t columns = 0;
  std::vector<std::int8_t> q;      // [rows][columns]
  std::vector<float> scales;       // [rows][columns / 32]
  std::vector<std::int16_t> sums;  // [rows][columns / 16]: of q
};
EightBitInput eight_bit(std::span<const float> x, std::size_t columns);

float integer_dot(const IntegerFormat& format, const IntegerRow& weight, const EightBitInput& x, std::size_t row);

}  // namespace lathe::kernels::ladder
