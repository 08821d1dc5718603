// The groups of a matrix one after another, as codecs encode them, with the checks that encode() makes of its
// arguments.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
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

template <class Grid>
struct GroupCodes {
  std::vector<std::uint8_t> codes;  // of every value, by rows
  std::vector<Grid> grids;          // of every group
};

// Rounds every value to its group's grid: fit(x, weights) gives the grid, code(grid, value) the value's number in it,
// and scale(grid) what has to be finite. Throws an Error naming the tensor where it is not.
template <class Fit, class Code, class Scale>
auto round_groups(std::span<const float> values, const Shape& shape, std::uint64_t group,
                  std::span<const float> importance, std::string_view codec, const std::string& name, const Fit& fit,
                  const Code& code, const Scale& scale) {
  const std::uint64_t cols = shape.cols();
  GroupCodes<decltype(fit(values, importance))> rounded;
  rounded.codes.reserve(values.size());
  for_each_group(values, shape, group, importance, name,
                 [&](std::uint64_t row, std::uint64_t, std::span<const float> x, std::span<const float> weights) {
                   const auto grid = fit(x, weights);
                   if (!std::isfinite(scale(grid))) fail_too_large(values.subspan(row * cols, cols), row, codec, name);
                   rounded.grids.push_back(grid);
                   for (const float value : x) rounded.codes.push_back(static_cast<std::uint8_t>(code(grid, value)));
                 });
  return rounded;
}

}  // namespace lathe
