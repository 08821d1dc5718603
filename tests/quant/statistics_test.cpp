// Products of a layer's input with itself, against plain sums.
#include "quant/statistics.h"

#include <gtest/gtest.h>

#include <random>

#include "reference/tiny_model.h"

namespace lathe::quant {
namespace {

// Columns of less than one block of products, one more than a block, and several with a part of one.
TEST(Statistics, ProductsOfColumnsArePlainSums) {
  const auto backend = test::cpu(2);
  const auto stream = backend->make_stream();
  for (const std::size_t n : {40U, 257U, 600U}) {
    arch::Op op{arch::OpKind::kLinear};
    op.layer = 3;
    op.linears = {{"first"}, {"second"}};
    StatisticsHooks hooks(3, true);
    std::vector<double> expected(n * n);
    std::mt19937 random(static_cast<unsigned>(n));
    std::normal_distribution<float> normal;
    for (const std::size_t rows : {33U, 7U}) {  // two passes
      std::vector<float> x(rows * n);
      for (float& value : x) value = normal(random);
      const kernels::DeviceBuffer input = backend->upload_floats(*stream, x);
      hooks.on_linear_input(op, kernels::DeviceTensor::dense(input.data(), rows, n), *backend, *stream);
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = 0; i < n; ++i) {
          for (std::size_t j = 0; j < n; ++j) expected[i * n + j] += double{x[r * n + i]} * x[r * n + j];
        }
      }
    }
    const auto inputs = hooks.take();
    EXPECT_EQ(inputs.at("first"), inputs.at("second"));
    const std::vector<float>& gram = inputs.at("first")->gram;
    ASSERT_EQ(gram.size(), n * n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        ASSERT_NEAR(gram[i * n + j], expected[i * n + j], 1e-4) << n << " columns, " << i << ", " << j;
        ASSERT_EQ(gram[i * n + j], gram[j * n + i]);
      }
    }
  }
}

}  // namespace
}  // namespace lathe::quant
