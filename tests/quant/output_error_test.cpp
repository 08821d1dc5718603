// The error of outputs from x x^T against plain loops, over several blocks of the matrix and over a part of its
// columns.
#include "quant/output_error.h"

#include <gtest/gtest.h>

#include <random>

#include "reference/tiny_model.h"

namespace lathe::quant {
namespace {

TEST(OutputError, IsTheQuadraticForm) {
  constexpr std::size_t kColumns = 1100, kRows = 3;  // more than two blocks
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  InputStatistics input;
  input.largest.resize(kColumns);
  input.gram.resize(kColumns * kColumns);
  for (std::size_t i = 0; i < kColumns; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      input.gram[i * kColumns + j] = input.gram[j * kColumns + i] = normal(random) + (i == j ? 100.0f : 0.0f);
    }
  }
  const auto backend = test::cpu(2);
  ThreadPool pool(2);
  for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, kColumns}, {40, 168}, {300, 1000}}) {
    const std::size_t width = end - begin;
    std::vector<float> changes(kRows * width);
    for (float& change : changes) change = normal(random);
    std::vector<double> errors(kRows, -1);
    OutputError(input, begin, end, kRows + 1, *backend, pool).measure(changes, errors);
    for (std::size_t r = 0; r < kRows; ++r) {
      double expected = 0;
      for (std::size_t i = 0; i < width; ++i) {
        for (std::size_t j = 0; j < width; ++j) {
          expected +=
              double{changes[r * width + i]} * changes[r * width + j] * input.gram[(begin + i) * kColumns + begin + j];
        }
      }
      EXPECT_NEAR(errors[r], expected, 1e-4 * expected) << begin << ", row " << r;
    }
  }
}

}  // namespace
}  // namespace lathe::quant
