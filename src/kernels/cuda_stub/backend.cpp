// Stands in for kernels/cuda/ in a build without CUDA.
#include "kernels/backend.h"
#include "base/error.h"

namespace lathe::kernels {

std::unique_ptr<Backend> make_cuda_backend(int device) {
  throw Error("this build has no CUDA", fmt::format("cuda:{}", device), "configure with -DLATHE_CUDA=ON");
}

}  // namespace lathe::kernels
