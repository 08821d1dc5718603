// Plain element types of raw arrays. Packed weight formats are codecs (tensor/codec.h), not dtypes.
#pragma once

#include <cstdint>
#include <string_view>

namespace lathe {

enum class DType : std::uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU64, kU32, kU16, kU8, kBool };

std::uint64_t dtype_bytes(DType dtype);
// "F32", "BF16", "I64", ... as safetensors spells them.
std::string_view dtype_name(DType dtype);

}  // namespace lathe
