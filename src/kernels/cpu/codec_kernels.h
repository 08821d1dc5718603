// The integer kernels, one file per codec. Each returns its kernel for a target, or an empty one where the target has
// none (Highway's scalar fallback).
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

MatmulKernel q8_0_matmul(const KernelSet& kernels);
MatmulKernel q4_0_matmul(const KernelSet& kernels);
MatmulKernel q4_1_matmul(const KernelSet& kernels);
MatmulKernel q5_0_matmul(const KernelSet& kernels);
MatmulKernel q5_1_matmul(const KernelSet& kernels);
MatmulKernel q2_k_matmul(const KernelSet& kernels);
MatmulKernel q3_k_matmul(const KernelSet& kernels);
MatmulKernel q4_k_matmul(const KernelSet& kernels);
MatmulKernel q5_k_matmul(const KernelSet& kernels);
MatmulKernel q6_k_matmul(const KernelSet& kernels);
MatmulKernel iq4_nl_matmul(const KernelSet& kernels);
MatmulKernel iq4_xs_matmul(const KernelSet& kernels);
MatmulKernel tq2_0_matmul(const KernelSet& kernels);
MatmulKernel mxfp4_matmul(const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
