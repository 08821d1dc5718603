#include "tensor/codecs/checks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace lathe {
namespace {

bool aligned(const PackedTensor& tensor, std::uint64_t column) {
  return column == tensor.shape.cols() || column % tensor.codec->column_alignment(tensor.params) == 0;
}

// Of finite values, or infinity when one is NaN or infinite: the bits of magnitudes order as integers, with infinity
// and NaN above all.
float largest_magnitude_or_infinity(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
  return std::bit_cast<float>(std::min(largest, 0x7f800000u));
}

[[noreturn]] void fail_at(std::span<const float> row_values, std::size_t column, std::uint64_t row,
                          std::string_view problem, std::string_view tensor_name) {
  fail(tensor_place(tensor_name), "the value {} at row {}, column {} {}", row_values[column], row, column, problem);
}

}  // namespace

std::string tensor_place(std::string_view tensor_name) { return fmt::format("tensor \"{}\"", tensor_name); }

void check_columns(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column, std::uint64_t count) {
  const std::uint64_t cols = tensor.shape.cols();
  if (row < tensor.shape.rows() && column <= cols && count <= cols - column && aligned(tensor, column) &&
      aligned(tensor, column + count)) {
    return;
  }
  fail(tensor_place(tensor.name), "{} columns from column {} of row {} cannot be decoded from {} of shape {}", count,
       column, row, tensor.codec->name(), tensor.shape.text());
}

void check_row_slice(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) {
  if (begin <= end && end <= tensor.shape.rows()) return;
  fail(tensor_place(tensor.name), "rows [{}, {}) are not inside shape {}", begin, end, tensor.shape.text());
}

void check_column_slice(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) {
  if (begin <= end && end <= tensor.shape.cols() && aligned(tensor, begin) && aligned(tensor, end)) return;
  fail(tensor_place(tensor.name), "columns [{}, {}) are not whole groups of {} ({}) inside shape {}", begin, end,
       tensor.codec->column_alignment(tensor.params), tensor.codec->name(), tensor.shape.text());
}

void check_importance(std::span<const float> importance, std::uint64_t cols, std::string_view tensor_name) {
  if (!importance.empty() && importance.size() != cols) {
    fail(tensor_place(tensor_name), "{} importance weights for {} columns", importance.size(), cols);
  }
  for (const float weight : importance) {
    if (!std::isfinite(weight) || weight < 0) {
      fail(tensor_place(tensor_name), "the importance weight {} is not a number >= 0", weight);
    }
  }
}

float check_finite(std::span<const float> row_values, std::uint64_t row, std::string_view tensor_name) {
  const float largest = largest_magnitude_or_infinity(row_values);
  if (std::isfinite(largest)) return largest;
  const auto bad =
      std::find_if(row_values.begin(), row_values.end(), [](float value) { return !std::isfinite(value); });
  fail_at(row_values, static_cast<std::size_t>(bad - row_values.begin()), row, "is not a finite number", tensor_name);
}

void fail_too_large(std::span<const float> row_values, std::uint64_t row, std::string_view codec,
                    std::string_view tensor_name) {
  const auto largest = std::max_element(row_values.begin(), row_values.end(),
                                        [](float a, float b) { return std::abs(a) < std::abs(b); });
  fail_at(row_values, static_cast<std::size_t>(largest - row_values.begin()), row,
          fmt::format("is too large for {}", codec), tensor_name);
}

Shape with_cols(const Shape& shape, std::uint64_t cols) {
  if (shape.rank() == 0) return cols == 1 ? shape : Shape{cols};
  std::uint64_t extents[Shape::kMaxRank] = {};
  for (int axis = 0; axis < shape.rank(); ++axis) extents[axis] = shape[axis];
  extents[shape.rank() - 1] = cols;
  return Shape::of(std::span(extents, static_cast<std::size_t>(shape.rank())), "slice");
}

Shape with_rows(const Shape& shape, std::uint64_t rows) {
  return shape.rank() <= 1 && rows == 1 ? shape : Shape{rows, shape.cols()};
}

}  // namespace lathe
