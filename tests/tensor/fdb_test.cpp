// FDB: the layout read bit by bit, the paper's thresholds, and grids against exhaustive searches.
#include "tensor/codecs/fdb.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "tensor/codecs/fdb_fit.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

float random_half(std::mt19937& random) {
  return float_from_half(half_from_float(0.001f * static_cast<float>(random() % 2000) - 1));
}

double error_of(const FdbGrid& grid, std::span<const float> x, std::span<const float> weights) {
  double error = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double least = INFINITY;
    for (int code = 0; code < 4; ++code) least = std::min(least, std::pow(double{x[i]} - grid.value(code), 2));
    error += weights[i] * least;
  }
  return error;
}

TEST(Fdb, DecodesWhatTheLayoutSays) {
  for (const int group : {0, 1, 24, 64}) {
    for (const std::uint64_t cols : {1, 13, 192, 300}) {
      constexpr std::uint64_t kRows = 5;
      const CodecParams params{2, group};
      const std::uint64_t width = group == 0 ? cols : static_cast<std::uint64_t>(group);
      const std::uint64_t groups = (cols + width - 1) / width, plane = (cols + 7) / 8;
      std::mt19937 random(static_cast<unsigned>(cols));
      std::vector<std::uint8_t> codes(kRows * cols);
      for (auto& code : codes) code = random() % 4;
      std::vector<FdbGrid> grids(kRows * groups);
      for (FdbGrid& grid : grids) grid.first = random_half(random), grid.second = random_half(random);
      const PackedTensor tensor = pack_fdb("w", {kRows, cols}, params, codes, grids);
      const std::vector<float> values = tensor.to_floats();
      for (std::uint64_t row = 0; row < kRows; ++row) {
        for (std::uint64_t col = 0; col < cols; ++col) {
          double expected = 0;
          for (std::uint64_t p = 0; p < 2; ++p) {
            const int byte = std::to_integer<int>(tensor.part("planes").data()[(2 * row + p) * plane + col / 8]);
            std::uint16_t half = 0;
            std::memcpy(&half, tensor.part("scales").data() + 2 * (2 * (row * groups + col / width) + p), 2);
            if (byte >> col % 8 & 1) expected += float_from_half(half);
          }
          ASSERT_EQ(values[row * cols + col], static_cast<float>(expected)) << group << ", " << row << ", " << col;
        }
      }
      std::vector<std::uint8_t> read(cols);
      std::vector<FdbGrid> read_grids(groups);
      fdb_codes(tensor, 3, read);
      fdb_grids(tensor, 3, read_grids);
      EXPECT_TRUE(std::equal(read.begin(), read.end(), codes.begin() + static_cast<std::ptrdiff_t>(3 * cols)));
      EXPECT_EQ(read_grids[groups - 1].second, grids[4 * groups - 1].second);
    }
  }
}

// b1 = H(w - (a1 + a2) / 2) and b2 = H(-(w - a1 b1 - a2 / 2)), at the start and with levels that moved
// but kept their order.
TEST(Fdb, NearestLevelsAreThePapersThresholds) {
  std::mt19937 random(3);
  for (const FdbGrid grid : {FdbGrid{0.5f, -0.25f}, FdbGrid{0.5f, -0.125f}, FdbGrid{1.5f, -1.25f}}) {
    for (int i = 0; i < 1000; ++i) {
      const float w = static_cast<float>(random() % 4001) / 1000 - 2;
      const int b1 = w - (grid.first + grid.second) / 2 >= 0 ? 1 : 0;
      const int b2 = -(w - grid.first * static_cast<float>(b1) - grid.second / 2) >= 0 ? 1 : 0;
      const float nearest = grid.value(nearest_fdb_code(grid, w)), thresholds = grid.value(b1 + 2 * b2);
      EXPECT_NEAR(std::abs(w - nearest), std::abs(w - thresholds), 1e-6f) << w;
    }
  }
}

TEST(Fdb, StartsAsTwoBitIntegers) {
  const std::vector<float> x = gaussian(512, 1), even(x.size(), 1);
  const IntGrid integers = fit_int_grid(x, even, 2, IntGroupKind::kSymmetric);
  const FdbGrid start = fdb_of_integers(integers.scale);
  for (const float value : x) {
    EXPECT_EQ(start.value(nearest_fdb_code(start, value)), integers.value(nearest_int_level(integers, value, 2)));
  }
}

TEST(Fdb, FreeScalesComeCloseToTheBestAndBeatIntegers) {
  double integers_sum = 0, found_sum = 0, best_sum = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    std::vector<float> x = gaussian(64, seed), weights = gaussian(64, seed + 100);
    for (float& weight : weights) weight = weight * weight + 0.0005f;
    const FdbGrid found = fit_fdb_grid(x, weights);
    const IntGrid integers = fit_int_grid(x, weights, 2, IntGroupKind::kSymmetric);
    double best = INFINITY;
    for (int i = -60; i <= 60; ++i) {
      for (int j = -60; j <= 60; ++j) {
        best = std::min(best, error_of({0.004f * static_cast<float>(i), 0.004f * static_cast<float>(j)}, x, weights));
      }
    }
    const double error = error_of(found, x, weights);
    EXPECT_LE(error, error_of(fdb_of_integers(integers.scale), x, weights) * (1 + 1e-6));
    integers_sum += error_of(fdb_of_integers(integers.scale), x, weights), found_sum += error, best_sum += best;
  }
  EXPECT_LT(found_sum, 1.25 * best_sum);
  EXPECT_LT(found_sum, 0.95 * integers_sum);
}

TEST(Fdb, SolvesForScalesOfGivenPlanes) {
  const std::vector<float> x = gaussian(40, 5), even(x.size(), 1);
  std::mt19937 random(6);
  std::vector<std::uint8_t> codes(x.size());
  for (auto& code : codes) code = random() % 4;
  const auto error = [&](FdbGrid grid) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(double{x[i]} - grid.value(codes[i]), 2);
    return sum;
  };
  const FdbGrid solved = solve_fdb_scales(x, even, codes, {});
  for (const FdbGrid step : {FdbGrid{1e-3f, 0}, FdbGrid{-1e-3f, 0}, FdbGrid{0, 1e-3f}, FdbGrid{0, -1e-3f}}) {
    EXPECT_LT(error(solved), error({solved.first + step.first, solved.second + step.second}));
  }
  std::fill(codes.begin(), codes.end(), 2);  // one plane is empty
  EXPECT_EQ(solve_fdb_scales(x, even, codes, {7, 0}).first, 7);
}

TEST(Fdb, RefusesWhatItCannotHold) {
  const Codec& codec = codec_named("FDB");
  const std::vector<float> x = gaussian(64, 1);
  EXPECT_THROW(pack("w", codec, {2, 32}, x, {3, 32}), Error);
  EXPECT_THROW(pack("w", codec, {2, 32}, x, {2, -1}), Error);
  std::vector<float> bad = x;
  bad[5] = NAN;
  EXPECT_THROW(pack("w", codec, {2, 32}, bad, {2, 32}), Error);
  bad[5] = 1e30f;
  EXPECT_THROW(pack("w", codec, {2, 32}, bad, {2, 32}), Error);
  const std::vector<std::uint8_t> codes(8), high(8, 4);
  const FdbGrid fine{1, -0.5f}, no_half{0.1f, 0}, infinite{1, INFINITY};
  EXPECT_NO_THROW(pack_fdb("w", {1, 8}, {2, 8}, codes, std::span(&fine, 1)));
  EXPECT_THROW(pack_fdb("w", {1, 8}, {2, 8}, high, std::span(&fine, 1)), Error);
  EXPECT_THROW(pack_fdb("w", {1, 8}, {2, 8}, codes, std::span(&no_half, 1)), Error);
  EXPECT_THROW(pack_fdb("w", {1, 8}, {2, 8}, codes, std::span(&infinite, 1)), Error);
  EXPECT_NO_THROW(pack("w", codec, {2, 32}, std::vector<float>(64), {2, 32}));  // nothing but zeros
}

TEST(Fdb, SlicesHoldTheSameWeights) {
  for (const int group : {0, 24, 64}) {
    const std::uint64_t cols = 192;
    const PackedTensor tensor = pack("w", codec_named("FDB"), {6, cols}, gaussian(6 * cols, 9), {2, group});
    const std::vector<float> all = tensor.to_floats(), rows = tensor.rows(2, 5).to_floats();
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin() + static_cast<std::ptrdiff_t>(2 * cols)));
    const std::uint64_t step = tensor.codec->column_alignment(tensor.params);
    const std::vector<float> cut = tensor.columns(step, cols).to_floats();
    for (std::uint64_t row = 0; row < 6; ++row) {
      for (std::uint64_t col = step; col < cols; ++col) {
        ASSERT_EQ(cut[row * (cols - step) + col - step], all[row * cols + col]);
      }
    }
    EXPECT_DOUBLE_EQ(tensor.bits_per_weight(), 2 + 32.0 / (group == 0 ? 192 : group));
  }
}

}  // namespace
}  // namespace lathe
