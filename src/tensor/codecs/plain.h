// Plain element types as codecs: a block is one little-endian number. There is one per DType, under the same name, so
// that any array of a file is a tensor; the integers and BOOL are read only.
#pragma once

#include "tensor/codec.h"

namespace lathe {

extern const BlockFormat kF64, kF32, kF16, kBF16;
extern const BlockFormat kI64, kI32, kI16, kI8, kU64, kU32, kU16, kU8, kBool;

}  // namespace lathe
