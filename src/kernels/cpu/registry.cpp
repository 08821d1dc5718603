// Which kernel multiplies which codec. A codec without a row here is decoded to floats, tile by tile.
#include "kernels/cpu/decoded.h"
#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

Matmul find_matmul(const Codec& codec, const KernelSet& kernels) {
  (void)codec;
  return {"decoded x f32", ActivationFormat::kF32, decoded_matmul(kernels)};
}

}  // namespace lathe::kernels::cpu
