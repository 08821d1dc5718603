// The integer kernels, one file per codec. Each returns its function for a target, or nullptr where the target has none
// (Highway's scalar fallback).
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

MatmulFunction q8_0_matmul(std::size_t target_index);
MatmulFunction q4_0_matmul(std::size_t target_index);
MatmulFunction q4_1_matmul(std::size_t target_index);
MatmulFunction q5_0_matmul(std::size_t target_index);
MatmulFunction q5_1_matmul(std::size_t target_index);
MatmulFunction q2_k_matmul(std::size_t target_index);
MatmulFunction q3_k_matmul(std::size_t target_index);
MatmulFunction q4_k_matmul(std::size_t target_index);
MatmulFunction q5_k_matmul(std::size_t target_index);
MatmulFunction q6_k_matmul(std::size_t target_index);
MatmulFunction iq4_nl_matmul(std::size_t target_index);
MatmulFunction iq4_xs_matmul(std::size_t target_index);

}  // namespace lathe::kernels::cpu
