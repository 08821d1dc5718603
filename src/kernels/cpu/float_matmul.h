// Products of floating-point weights, and of any codec decoded to floats.
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

// nullptr where a target has none (Highway's scalar fallback).
MatmulFunction f32_matmul(std::size_t target_index);
MatmulFunction f16_matmul(std::size_t target_index);
MatmulFunction bf16_matmul(std::size_t target_index);
MatmulFunction decoded_matmul(std::size_t target_index);

}  // namespace lathe::kernels::cpu
