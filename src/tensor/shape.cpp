#include "tensor/shape.h"

#include <fmt/core.h>

#include "base/checked.h"

namespace lathe {

Shape::Shape(std::initializer_list<std::uint64_t> extents) { *this = of({extents.begin(), extents.size()}, "shape"); }

Shape Shape::of(std::span<const std::uint64_t> extents, std::string_view where) {
  if (extents.size() > kMaxRank) fail(where, "{} dimensions, at most {} are supported", extents.size(), kMaxRank);
  Shape shape;
  for (const std::uint64_t extent : extents) {
    shape.extents_[shape.rank_++] = extent;
    shape.elements_ = checked_mul(shape.elements_, extent, "element count", where);
  }
  return shape;
}

std::string Shape::text() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) text += fmt::format("{}{}", axis == 0 ? "" : ", ", extents_[axis]);
  return text + "]";
}

}  // namespace lathe
