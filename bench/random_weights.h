// Weights for timing: random bytes are as good as any, but for scales: halves are kept small by clearing their top
// bits.
#pragma once

#include <random>
#include <vector>

#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe {

inline PackedTensor random_weights(const Codec& codec, std::uint64_t rows, std::uint64_t cols) {
  const BlockFormat& format = *block_format(codec);
  std::vector<std::byte> bytes(rows * cols / format.block_size * format.block_bytes);
  std::minstd_rand random(1);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8 & 0x3f);
  return packed_blocks("weight", codec, Shape{rows, cols}, Bytes::copy_of(bytes, "weight"));
}

}  // namespace lathe
