// Products of floating-point weights, and of any codec decoded to floats.
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

// Empty where a target has none (Highway's scalar fallback).
MatmulKernel f32_matmul(const KernelSet& kernels);
MatmulKernel f16_matmul(const KernelSet& kernels);
MatmulKernel bf16_matmul(const KernelSet& kernels);
MatmulKernel decoded_matmul(const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
