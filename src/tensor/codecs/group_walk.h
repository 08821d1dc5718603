// The groups of a matrix one after another, as codecs encode them, with the checks that encode() makes of its
// arguments.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/codecs/checks.h"

namespace lathe {

// Calls body(row, begin, x, weights) for every group of `group` columns from `begin` on, the last of a row perhaps
// short: its values, and one weight for the squared error of each (1 where `importance` is empty). Throws an Error
// naming the tensor where sizes do not fit or a value is not finite.
template <class Body>
void for_each_group(std::span<const float> values, const Shape& shape, std::uint64_t group,
                    std::span<const float> importance, const std::string& name, const Body& body) {
  const std::uint64_t cols = shape.cols();
  if (values.size() != shape.elements()) {
    fail(tensor_place(name), "{} values for shape {}", values.size(), shape.text());
  }
  check_importance(importance, cols, name);
  const std::vector<float> even(importance.empty() ? std::min(group, cols) : 0, 1.0f);
  for (std::uint64_t row = 0; row < shape.rows(); ++row) {
    const std::span<const float> x = values.subspan(row * cols, cols);
    check_finite(x, row, name);
    for (std::uint64_t begin = 0; begin < cols; begin += group) {
      const std::uint64_t count = std::min(group, cols - begin);
      body(row, begin, x.subspan(begin, count),
           importance.empty() ? std::span<const float>(even).first(count) : importance.subspan(begin, count));
    }
  }
}

}  // namespace lathe
