// BITMOD: the layout read bit by bit, values of the paper's table, and types and scales against plain searches.
#include "tensor/codecs/bitmod.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "base/error.h"
#include "base/half.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// Table II of the paper (4-bit values doubled, as its authors' code has them).
std::vector<int> values_of(int bits, int type) {
  static const int kExtra3[] = {3, -3, 6, -6}, kExtra4[] = {10, -10, 16, -16};
  std::vector<int> values = {0};
  for (const int m : bits == 3 ? std::vector{1, 2, 4} : std::vector{1, 2, 3, 4, 6, 8, 12}) {
    values.push_back(m), values.push_back(-m);
  }
  values.push_back((bits == 3 ? kExtra3 : kExtra4)[type]);
  std::sort(values.begin(), values.end());
  return values;
}

// Rounding to scale * value by comparing with all; the lower of equally near ones.
double nearest(const std::vector<int>& values, double x, double scale) {
  double best = values[0] * scale;
  for (const int v : values) {
    if (std::abs(v * scale - x) < std::abs(best - x)) best = v * scale;
  }
  return best;
}

double squared_error(const std::vector<int>& values, std::span<const float> x, double scale) {
  double error = 0;
  for (const float value : x) error += std::pow(value - nearest(values, value, scale), 2);
  return error;
}

TEST(Bitmod, CodesMeanTheTablesValues) {
  for (const int bits : {3, 4}) {
    for (int type = 0; type < kBitmodTypes; ++type) {
      std::vector<int> values;
      for (int code = 0; code < 1 << bits; ++code) values.push_back(bitmod_value(bits, type, code));
      std::sort(values.begin(), values.end());
      EXPECT_EQ(values, values_of(bits, type)) << bits << ", " << type;
    }
  }
}

TEST(Bitmod, DecodesWhatTheLayoutSays) {
  for (const int bits : {3, 4}) {
    for (const int group : {1, 24, 32, 128}) {
      for (const std::uint64_t cols : {1, 13, 192, 300}) {
        constexpr std::uint64_t kRows = 5;
        std::mt19937 random(static_cast<unsigned>(bits * 1000 + group));
        const std::uint64_t groups = (cols + static_cast<std::uint64_t>(group) - 1) / static_cast<std::uint64_t>(group);
        std::vector<BitmodRow> rows(kRows);
        for (BitmodRow& row : rows) {
          row.factor = float_from_half(half_from_float(0.01f + 0.001f * static_cast<float>(random() % 99)));
          for (std::uint64_t c = 0; c < cols; ++c) row.codes.push_back(random() & ((1u << bits) - 1));
          for (std::uint64_t g = 0; g < groups; ++g) row.types.push_back(random() % 4), row.scales.push_back(random());
        }
        const PackedTensor tensor = pack_bitmod_rows("w", {kRows, cols}, {bits, group}, rows);
        const std::vector<float> values = tensor.to_floats();
        const auto planes = [&](std::string_view part, std::uint64_t row, int n_bits, std::uint64_t n,
                                std::uint64_t i) {
          unsigned value = 0;
          const std::uint64_t plane = (n + 7) / 8;
          for (int p = 0; p < n_bits; ++p) {
            const std::uint64_t at = (row * static_cast<std::uint64_t>(n_bits) + static_cast<std::uint64_t>(p)) * plane;
            value |= (std::to_integer<unsigned>(tensor.part(part).data()[at + i / 8]) >> i % 8 & 1) << p;
          }
          return value;
        };
        for (std::uint64_t r = 0; r < kRows; ++r) {
          for (std::uint64_t c = 0; c < cols; ++c) {
            const std::uint64_t g = c / static_cast<std::uint64_t>(group);
            ASSERT_EQ(planes("planes", r, bits, cols, c), rows[r].codes[c]);
            ASSERT_EQ(planes("types", r, 2, groups, g), rows[r].types[g]);
            const int scale = std::to_integer<int>(tensor.part("scales").data()[r * groups + g]);
            ASSERT_EQ(values[r * cols + c],
                      rows[r].factor * static_cast<float>(scale) *
                          static_cast<float>(bitmod_value(bits, rows[r].types[g], rows[r].codes[c])));
          }
        }
        const std::uint64_t step = tensor.codec->column_alignment(tensor.params);
        if (step >= cols) continue;
        const std::vector<float> cut = tensor.rows(1, 4).columns(step, cols).to_floats();
        for (std::uint64_t i = 0; i < cut.size(); ++i) {
          ASSERT_EQ(cut[i], values[(1 + i / (cols - step)) * cols + step + i % (cols - step)]);
        }
      }
    }
  }
}

// 3 bits, 8-bit scales, 2 bits for a type: 3 + 8 / 128 + 2 / 128, and 16 for a row's factor.
TEST(Bitmod, BitsPerWeightAreThoseOfTheFormula) {
  const PackedTensor tensor = pack("w", codec_named("BITMOD"), {4, 1024}, gaussian(4096, 1), {3, 128});
  EXPECT_DOUBLE_EQ(tensor.bits_per_weight(), 3 + 10.0 / 128 + 16.0 / 1024);
}

// Algorithm 1 of the paper in plain steps.
TEST(Bitmod, AdaptationTakesTheTypeWithTheLeastError) {
  std::set<int> used[2];
  for (const int bits : {3, 4}) {
    for (unsigned seed = 1; seed <= 60; ++seed) {
      std::vector<float> x = gaussian(64, seed);
      if (seed % 3 == 1) {
        for (float& value : x) value = std::abs(value);  // one-sided
      }
      if (seed % 3 == 2) {
        for (float& value : x) value = -std::abs(value);
      }
      double least = INFINITY;
      int best = -1;
      for (int type = 0; type < 4; ++type) {
        const std::vector<int> values = values_of(bits, type);
        double largest = 0;
        for (const float value : x) largest = std::max(largest, std::abs(double{value}));
        const double error =
            squared_error(values, x, largest / std::max(std::abs(values.front()), std::abs(values.back())));
        if (error < least * (1 - 1e-6)) least = error, best = type;
      }
      const BitmodFit fit = adapt_bitmod_group(x, bits);
      EXPECT_NEAR(squared_error(values_of(bits, fit.type), x, fit.scale), least, 1e-5 * least) << bits << ", " << seed;
      used[bits - 3].insert(best);
      if (seed % 3 > 0 && bits == 3) {  // the extra value is on the side of the weights
        EXPECT_EQ(fit.type % 2, seed % 3 - 1);
      }
    }
    // Weights that lie on a type's values are kept.
    for (int type = 0; type < 4; ++type) {
      std::vector<float> x;
      for (const int value : values_of(bits, type)) x.push_back(0.25f * static_cast<float>(value));
      const BitmodFit fit = adapt_bitmod_group(x, bits);
      EXPECT_EQ(fit.type, type);
      EXPECT_EQ(squared_error(values_of(bits, fit.type), x, fit.scale), 0);
    }
  }
  EXPECT_EQ(used[0].size(), 4u);
}

// Scales become integers of a row: within half a unit of the largest's 127th part, and the codes are the nearest ones.
TEST(Bitmod, RowsRoundToTheScalesTheyStore) {
  const CodecParams params{3, 32};
  const std::vector<float> x = gaussian(200, 4);
  std::vector<BitmodFit> fits;
  for (std::size_t begin = 0; begin < 200; begin += 32) {
    fits.push_back(adapt_bitmod_group(std::span(x).subspan(begin, std::min<std::size_t>(32, 200 - begin)), 3));
  }
  const BitmodRow row = round_bitmod_row(x, fits, params);
  for (std::size_t c = 0; c < 200; ++c) {
    const double scale = double{row.factor} * row.scales[c / 32];
    EXPECT_NEAR(scale, fits[c / 32].scale, 0.51 * row.factor);
    EXPECT_NEAR(scale * bitmod_value(3, row.types[c / 32], row.codes[c]),
                nearest(values_of(3, row.types[c / 32]), x[c], scale), 1e-7);
  }
}

// The search over scales is never worse than covering scales, up to what 8 bits of a scale change.
TEST(Bitmod, PackingSearchesScalesToo) {
  const CodecParams params{3, 128};
  const std::vector<float> x = gaussian(16 * 512, 9);
  std::vector<BitmodRow> rows;
  for (std::size_t r = 0; r < 16; ++r) {
    std::vector<BitmodFit> fits;
    const std::span<const float> row = std::span(x).subspan(r * 512, 512);
    for (std::size_t g = 0; g < 4; ++g) fits.push_back(adapt_bitmod_group(row.subspan(g * 128, 128), 3));
    rows.push_back(round_bitmod_row(row, fits, params));
  }
  const auto error = [&](const PackedTensor& tensor) {
    const std::vector<float> y = tensor.to_floats();
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(double{x[i]} - y[i], 2);
    return sum;
  };
  EXPECT_LT(error(pack("w", codec_named("BITMOD"), {16, 512}, x, params)),
            0.97 * error(pack_bitmod_rows("w", {16, 512}, params, rows)));
}

TEST(Bitmod, RefusesOtherWidths) {
  const Codec& codec = codec_named("BITMOD");
  for (const CodecParams& params : {CodecParams{2, 128}, CodecParams{5, 128}, CodecParams{3, 0}, CodecParams{3, -1}}) {
    EXPECT_THROW(codec.parts({2, 128}, params), Error);
    EXPECT_THROW(pack("w", codec, {2, 128}, std::vector<float>(256), params), Error);
  }
}

}  // namespace
}  // namespace lathe
