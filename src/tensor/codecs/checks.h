// The checks every codec makes of its callers' arguments. Each throws an Error naming the tensor.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tensor/packed_tensor.h"

namespace lathe {

std::string tensor_place(std::string_view tensor_name);  // tensor "name", as errors say where

// Columns [column, column + count) of `row` exist, and are aligned or reach the row's end.
void check_columns(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column, std::uint64_t count);
// Rows [begin, end), columns [begin, end): the same for a slice.
void check_row_slice(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end);
void check_column_slice(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end);

// One weight >= 0 per column, or none at all.
void check_importance(std::span<const float> importance, std::uint64_t cols, std::string_view tensor_name);

// The largest magnitude of a row; throws for NaN and infinity.
float check_finite(std::span<const float> row_values, std::uint64_t row, std::string_view tensor_name);
// Throws for the row's largest value: "is too large for <codec>".
[[noreturn]] void fail_too_large(std::span<const float> row_values, std::uint64_t row, std::string_view codec,
                                 std::string_view tensor_name);

// `shape` with another innermost extent.
Shape with_cols(const Shape& shape, std::uint64_t cols);
// The shape of rows [begin, end): [n, cols], except that a vector stays a vector.
Shape with_rows(const Shape& shape, std::uint64_t rows);

}  // namespace lathe
