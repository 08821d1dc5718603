// The integer kernels, one file per codec. Each returns its function for a target, or nullptr where the target has none
// (Highway's scalar fallback).
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

MatmulFunction q8_0_matmul(std::size_t target_index);
MatmulFunction q4_0_matmul(std::size_t target_index);

}  // namespace lathe::kernels::cpu
