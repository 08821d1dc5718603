// CUDA failures as lathe::Error.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "base/error.h"

namespace lathe::kernels::cuda {

inline void check(cudaError_t status, std::string_view action) {
  if (status == cudaSuccess) return;
  std::string remedy;
  if (status == cudaErrorMemoryAllocation) remedy = "use a smaller model, codec, batch or context";
  throw Error(fmt::format("cannot {}: {}", action, cudaGetErrorString(status)), "cuda", remedy);
}

}  // namespace lathe::kernels::cuda
