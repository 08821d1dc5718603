// Shapes refuse what does not fit, and see every array as a matrix.
#include "tensor/shape.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/dtype.h"

namespace lathe {
namespace {

TEST(Shape, SeesEveryArrayAsAMatrix) {
  const Shape matrix = {3, 5}, vector = {7}, cube = {2, 3, 4}, scalar;
  EXPECT_EQ(matrix.rows(), 3u);
  EXPECT_EQ(matrix.cols(), 5u);
  EXPECT_EQ(vector.rows(), 1u);
  EXPECT_EQ(vector.cols(), 7u);
  EXPECT_EQ(cube.rows(), 6u);
  EXPECT_EQ(cube.cols(), 4u);
  EXPECT_EQ(cube.elements(), 24u);
  EXPECT_EQ(scalar.rows(), 1u);
  EXPECT_EQ(scalar.cols(), 1u);
  EXPECT_EQ(scalar.elements(), 1u);
  EXPECT_EQ((Shape{4, 0}).rows(), 0u);
  EXPECT_EQ(cube.text(), "[2, 3, 4]");
  EXPECT_EQ(scalar.text(), "[]");
  EXPECT_NE(matrix, (Shape{5, 3}));
  EXPECT_NE((Shape{5}), (Shape{1, 5}));
}

TEST(Shape, RefusesTooManyDimensionsAndOverflow) {
  const std::uint64_t five[] = {1, 1, 1, 1, 1};
  EXPECT_THROW(Shape::of(five, "model.gguf"), Error);
  EXPECT_NO_THROW(Shape::of(std::span(five).first(4), "model.gguf"));
  const std::uint64_t huge[] = {std::uint64_t{1} << 40, std::uint64_t{1} << 40};
  try {
    Shape::of(huge, "model.gguf, tensor \"x\"");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("model.gguf"), std::string::npos);
  }
}

TEST(DType, HasSizesAndNames) {
  EXPECT_EQ(dtype_bytes(DType::kF64), 8u);
  EXPECT_EQ(dtype_bytes(DType::kBF16), 2u);
  EXPECT_EQ(dtype_bytes(DType::kBool), 1u);
  EXPECT_EQ(dtype_name(DType::kU16), "U16");
}

}  // namespace
}  // namespace lathe
