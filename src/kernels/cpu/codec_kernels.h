// The integer kernels, one file per codec. Each returns its function for a target, or nullptr where the target has none
// (Highway's scalar fallback).
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

MatmulFunction q8_0_matmul(const KernelSet& kernels);
MatmulFunction q4_0_matmul(const KernelSet& kernels);
MatmulFunction q4_1_matmul(const KernelSet& kernels);
MatmulFunction q5_0_matmul(const KernelSet& kernels);
MatmulFunction q5_1_matmul(const KernelSet& kernels);
MatmulFunction q2_k_matmul(const KernelSet& kernels);
MatmulFunction q3_k_matmul(const KernelSet& kernels);
MatmulFunction q4_k_matmul(const KernelSet& kernels);
MatmulFunction q5_k_matmul(const KernelSet& kernels);
MatmulFunction q6_k_matmul(const KernelSet& kernels);
MatmulFunction iq4_nl_matmul(const KernelSet& kernels);
MatmulFunction iq4_xs_matmul(const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
