#include "tensor/codecs/part_slices.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace lathe {

Bytes part_rows(const Bytes& part, std::uint64_t stride, std::uint64_t begin, std::uint64_t end) {
  return part.slice(begin * stride, (end - begin) * stride, "rows of a tensor");
}

Bytes part_columns(const Bytes& part, std::uint64_t rows, std::uint64_t stride, std::uint64_t first,
                   std::uint64_t size) {
  if (first == 0 && size == stride) return part;
  if (rows == 1) return part.slice(first, size, "columns of a tensor");
  auto buffer = std::make_shared<std::vector<std::byte>>(rows * size);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const Bytes piece = part.slice(row * stride + first, size, "columns of a tensor");
    std::copy(piece.span().begin(), piece.span().end(), buffer->begin() + static_cast<std::ptrdiff_t>(row * size));
  }
  return Bytes(*buffer, part.name(), buffer);
}

}  // namespace lathe
