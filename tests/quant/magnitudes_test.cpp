// Quantiles of a histogram against sorted numbers.
#include "quant/magnitudes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace lathe::quant {
namespace {

TEST(Magnitudes, QuantilesAreThoseOfSortedNumbers) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(20000);
  Magnitudes magnitudes;
  for (float& value : values) {
    value = std::abs(normal(random)) * std::exp2(static_cast<float>(random() % 12));
    magnitudes.add(value);
  }
  std::sort(values.rbegin(), values.rend());
  for (const double share : {0.0, 0.00004, 0.001, 0.01, 0.5, 0.99}) {
    const float exact = values[static_cast<std::size_t>(share * 20000)], found = magnitudes.largest_without(share);
    EXPECT_GE(found, exact) << share;
    EXPECT_LE(found, exact * (1 + 1.0f / 64)) << share;
  }
}

TEST(Magnitudes, BearAnyNumber) {
  EXPECT_EQ(Magnitudes().largest_without(0.001), 0);
  Magnitudes magnitudes;
  for (int i = 0; i < 999; ++i) magnitudes.add(0);
  for (const float largest : {3e38f, INFINITY, NAN}) {
    Magnitudes more = magnitudes;
    more.add(largest);
    EXPECT_LT(more.largest_without(0.001), 1e-30f) << largest;
    EXPECT_FALSE(more.largest_without(0) < 3e38f) << largest;
  }
}

}  // namespace
}  // namespace lathe::quant
