#include "kernels/cpu/decoded.h"

#include <span>

#include "kernels/cpu/reference.h"

namespace lathe::kernels::cpu {

MatmulFunction decoded_matmul(const KernelSet&) { return reference_matmul; }

}  // namespace lathe::kernels::cpu
