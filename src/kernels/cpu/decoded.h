// The kernel of every codec that has none of its own: rows are decoded to floats, a few at a time.
#pragma once

#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

MatmulFunction decoded_matmul(const KernelSet& kernels);

}  // namespace lathe::kernels::cpu
