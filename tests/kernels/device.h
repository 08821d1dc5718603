// What the kernel tests share: a backend with its stream, random inputs, random weights of any block codec, and running
// one operation from host vectors to host vectors.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/backend.h"
#include "kernels/cpu/kernels.h"
#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe::kernels {

using Floats = std::vector<float>;

struct Device {
  explicit Device(std::string kernel, int threads = 2)
      : backend(make_cpu_backend({threads, std::move(kernel)})), stream(backend->make_stream()) {}

  // Rows of `values`, `stride` apart in memory (0: dense).
  DeviceTensor tensor(const Floats& values, std::uint64_t rows, std::uint64_t stride = 0) {
    const std::uint64_t cols = rows == 0 ? 0 : values.size() / rows;
    stride = stride == 0 ? cols : stride;
    buffers.push_back(backend->allocate(rows * stride * sizeof(float)));
    DeviceTensor result{buffers.back().data(), rows, cols, stride, DType::kF32};
    for (std::uint64_t r = 0; r < rows; ++r) {
      backend->upload(*stream, static_cast<float*>(result.data) + r * stride, values.data() + r * cols,
                      cols * sizeof(float));
    }
    return result;
  }
  DeviceTensor zeros(std::uint64_t rows, std::uint64_t cols) { return tensor(Floats(rows * cols), rows); }
  const float* floats(const Floats& values) {
    buffers.push_back(backend->upload_floats(*stream, values));
    return static_cast<const float*>(buffers.back().data());
  }
  template <class T>
  const T* array(const std::vector<T>& values) {
    buffers.push_back(backend->allocate(values.size() * sizeof(T)));
    backend->upload(*stream, buffers.back().data(), values.data(), values.size() * sizeof(T));
    return static_cast<const T*>(buffers.back().data());
  }
  Floats read(const DeviceTensor& tensor) {
    Floats values(tensor.rows * tensor.cols);
    for (std::uint64_t r = 0; r < tensor.rows; ++r) {
      backend->download(*stream, values.data() + r * tensor.cols,
                        static_cast<const float*>(tensor.data) + r * tensor.stride, tensor.cols * sizeof(float));
    }
    return values;
  }

  std::unique_ptr<Backend> backend;
  std::unique_ptr<Stream> stream;
  std::vector<DeviceBuffer> buffers;
};

inline Floats random_floats(std::size_t count, std::uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Bitwise, so that -0 and 0, and NaNs, count as what they are.
inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Blocks of random bytes whose half-precision scales are ordinary numbers.
inline PackedTensor random_blocks(std::string_view codec_name, std::uint64_t rows, std::uint64_t cols,
                                  std::uint32_t seed) {
  const Codec& codec = codec_named(codec_name);
  const BlockFormat& format = *block_format(codec);
  struct Halves {
    std::string_view codec;
    std::vector<std::size_t> at;  // offsets of half-precision numbers in a block
  };
  static const Halves kHalves[] = {
      {"Q4_0", {0}},      {"Q4_1", {0, 2}}, {"Q5_0", {0}},   {"Q5_1", {0, 2}}, {"Q8_0", {0}},
      {"Q2_K", {80, 82}}, {"TQ2_0", {64}},  {"Q3_K", {108}}, {"Q4_K", {0, 2}}, {"Q5_K", {0, 2}},
      {"Q6_K", {208}},    {"IQ4_NL", {0}},  {"IQ4_XS", {0}},
  };
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> scale(-0.1f, 0.1f);
  std::vector<std::byte> bytes(rows * cols / format.block_size * format.block_bytes);
  if (format.block_size == 1) {
    std::normal_distribution<float> normal(0, 0.5f);
    for (std::size_t i = 0; i < rows * cols; ++i) {
      const float value = normal(random);
      const std::uint16_t narrow = codec_name == "F16" ? half_from_float(value) : bfloat_from_float(value);
      std::memcpy(bytes.data() + i * format.block_bytes,
                  format.block_bytes == 4 ? static_cast<const void*>(&value) : static_cast<const void*>(&narrow),
                  format.block_bytes);
    }
  } else {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    if (codec_name == "MXFP4") {  // exponents of ordinary numbers
      for (std::size_t block = 0; block < bytes.size(); block += format.block_bytes) {
        bytes[block] = static_cast<std::byte>(120 + random() % 8);
      }
    }
    for (const Halves& halves : kHalves) {
      if (halves.codec != codec_name) continue;
      for (std::size_t block = 0; block < bytes.size(); block += format.block_bytes) {
        for (const std::size_t at : halves.at) {
          const std::uint16_t half = half_from_float(scale(random));
          std::memcpy(bytes.data() + block + at, &half, sizeof half);
        }
      }
    }
  }
  return packed_blocks("weight", codec, Shape{rows, cols}, Bytes::copy_of(bytes, "weight"));
}

// Every set of kernels of this machine but the scalar one; {"scalar"} when there is no other.
inline std::vector<std::string> fast_kernels() {
  std::vector<std::string> names = cpu::available_kernels();
  if (names.size() > 1) names.pop_back();
  return names;
}

}  // namespace lathe::kernels
