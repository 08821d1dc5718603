// Products of floating-point weights, and of any codec decoded to floats.
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

// nullptr where a target has none (Highway's scalar fallback).
MatmulFunction f32_matmul(const KernelSet& kernels);
MatmulFunction f16_matmul(const KernelSet& kernels);
MatmulFunction bf16_matmul(const KernelSet& kernels);
MatmulFunction decoded_matmul(const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
