// Weights for timing. In blocks of integers random bytes are as good as any, but for scales: halves are kept small by
// clearing their top bits, and MXFP4's exponents are all the same. Floats are normally distributed: among random bytes
// there would be subnormal numbers, which processors multiply far more slowly than others.
#pragma once

#include <random>
#include <vector>

#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe {

inline PackedTensor random_weights(const Codec& codec, std::uint64_t rows, std::uint64_t cols) {
  const BlockFormat& format = *block_format(codec);
  std::minstd_rand random(1);
  if (format.block_size == 1) {
    std::vector<float> values(rows * cols);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
    return pack("weight", codec, Shape{rows, cols}, values);
  }
  std::vector<std::byte> bytes(rows * cols / format.block_size * format.block_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8 & 0x3f);
  if (codec.name() == "MXFP4") {
    for (std::size_t i = 0; i < bytes.size(); i += format.block_bytes) bytes[i] = std::byte{120};
  }
  return packed_blocks("weight", codec, Shape{rows, cols}, Bytes::copy_of(bytes, "weight"));
}

}  // namespace lathe
