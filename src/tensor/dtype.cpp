#include "tensor/dtype.h"

namespace lathe {
namespace {

struct Row {
  std::string_view name;
  std::uint64_t bytes;
};

// In the order of the enumeration.
constexpr Row kRows[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
                         {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};

}  // namespace

std::uint64_t dtype_bytes(DType dtype) { return kRows[static_cast<int>(dtype)].bytes; }
std::string_view dtype_name(DType dtype) { return kRows[static_cast<int>(dtype)].name; }

}  // namespace lathe
