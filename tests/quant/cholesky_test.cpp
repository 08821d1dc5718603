// The factor of an inverse: held against the definition, H V V^T = 1, in plain loops.
#include "quant/cholesky.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace lathe::quant {
namespace {

// A^T A of a random matrix with more rows than columns, symmetric and positive definite.
std::vector<double> random_gram(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> a((2 * n + 3) * n), h(n * n, 0);
  for (double& value : a) value = normal(random);
  for (std::size_t k = 0; k < 2 * n + 3; ++k) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) h[i * n + j] += a[k * n + i] * a[k * n + j];
    }
  }
  return h;
}

TEST(InverseFactor, TimesItsTransposeIsTheInverse) {
  ThreadPool pool(2);
  for (const std::size_t n : {1, 2, 3, 63, 64, 65, 130, 300}) {
    const std::vector<double> h = random_gram(n, static_cast<unsigned>(n));
    std::vector<double> v = h;
    ASSERT_TRUE(inverse_factor(v, n, pool)) << n;
    std::vector<double> inverse(n * n, 0);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (j > i) {
          ASSERT_EQ(v[i * n + j], 0) << n;
        }
        for (std::size_t k = 0; k < n; ++k) inverse[i * n + j] += v[i * n + k] * v[j * n + k];
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_GT(v[i * n + i], 0);
      for (std::size_t j = 0; j < n; ++j) {
        double product = 0;
        for (std::size_t k = 0; k < n; ++k) product += h[i * n + k] * inverse[k * n + j];
        ASSERT_NEAR(product, i == j, 1e-9) << n << ": " << i << ", " << j;
      }
    }
  }
}

TEST(InverseFactor, ReadsTheLowerTriangleOnly) {
  ThreadPool pool(1);
  std::vector<double> h = random_gram(40, 1), v = h;
  ASSERT_TRUE(inverse_factor(v, 40, pool));
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t j = i + 1; j < 40; ++j) h[i * 40 + j] = NAN;
  }
  ASSERT_TRUE(inverse_factor(h, 40, pool));
  EXPECT_EQ(h, v);
}

TEST(InverseFactor, ThreadsDoNotChangeIt) {
  std::vector<double> first;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<double> v = random_gram(333, 3);
    ASSERT_TRUE(inverse_factor(v, 333, pool));
    if (first.empty()) first = v;
    EXPECT_EQ(v, first) << threads;
  }
}

TEST(InverseFactor, SaysWhenThereIsNone) {
  ThreadPool pool(2);
  std::vector<double> singular(100 * 100, 1.0);
  EXPECT_FALSE(inverse_factor(singular, 100, pool));
  std::vector<double> negative = {1, 0, 0, -1};
  EXPECT_FALSE(inverse_factor(negative, 2, pool));
  std::vector<double> poisoned = random_gram(70, 2);
  poisoned[69 * 70 + 3] = NAN;
  EXPECT_FALSE(inverse_factor(poisoned, 70, pool));
}

}  // namespace
}  // namespace lathe::quant
