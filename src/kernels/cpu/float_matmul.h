// Products of floating-point weights, and of any codec decoded to floats.
#pragma once

#include <cstddef>
#include <optional>

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

// What a target offers for one type of weights; run is nullptr where it has none (Highway's scalar fallback).
struct FloatKernel {
  MatmulFunction run = nullptr;
  std::size_t (*lanes_of)(std::size_t rows) = nullptr;  // rows of a tile of a weight with so many
};

std::optional<Matmul> f32_matmul(const PackedTensor& weight, const KernelSet& kernels);
std::optional<Matmul> f16_matmul(const PackedTensor& weight, const KernelSet& kernels);
std::optional<Matmul> bf16_matmul(const PackedTensor& weight, const KernelSet& kernels);
std::optional<Matmul> decoded_matmul(const PackedTensor& weight, const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
