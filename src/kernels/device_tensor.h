// Arrays in device memory. `data` is a device address: only the backend that allocated it may follow it, everybody else
// goes through Backend::upload and Backend::download.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/dtype.h"

namespace lathe::kernels {

// Owned device memory; freed when the last copy goes.
struct DeviceBuffer {
  std::shared_ptr<void> memory;
  std::uint64_t bytes = 0;
  void* data() const { return memory.get(); }
};

// A dense row-major [rows, cols] view; does not own. Rows lie `stride` elements apart (stride >= cols).
struct DeviceTensor {
  void* data = nullptr;
  std::uint64_t rows = 0, cols = 0, stride = 0;
  DType dtype = DType::kF32;

  static DeviceTensor dense(void* data, std::uint64_t rows, std::uint64_t cols, DType dtype = DType::kF32) {
    return {data, rows, cols, cols, dtype};
  }
  // Rows [begin, begin + count).
  DeviceTensor slice_rows(std::uint64_t begin, std::uint64_t count) const {
    return {static_cast<char*>(data) + begin * stride * dtype_bytes(dtype), count, cols, stride, dtype};
  }
  // Columns [begin, begin + count).
  DeviceTensor slice_cols(std::uint64_t begin, std::uint64_t count) const {
    return {static_cast<char*>(data) + begin * dtype_bytes(dtype), rows, count, stride, dtype};
  }
};

}  // namespace lathe::kernels
