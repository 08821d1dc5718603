// Cutting rows and columns out of a dense part, for the codecs' slice_rows and slice_columns.
#pragma once

#include <cstdint>

#include "base/checked.h"

namespace lathe {

// Rows [begin, end) of `stride` bytes each; shares memory.
Bytes part_rows(const Bytes& part, std::uint64_t stride, std::uint64_t begin, std::uint64_t end);

// Bytes [first, first + size) of each of `rows` rows of `stride` bytes; shares memory when there is one row or nothing
// to cut, and copies otherwise.
Bytes part_columns(const Bytes& part, std::uint64_t rows, std::uint64_t stride, std::uint64_t first,
                   std::uint64_t size);

}  // namespace lathe
