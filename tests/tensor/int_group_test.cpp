// Integer groups: every width, any group size, against bits read one at a time and grids searched exhaustively.
#include "tensor/codecs/int_group.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

struct Case {
  int bits, group;
  std::uint64_t rows, cols;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int group : {0, 1, 7, 32, 128}) {
      for (const std::uint64_t cols : {1, 8, 13, 192, 300}) all.push_back({bits, group, 3, cols});
    }
  }
  return all;
}

struct Made {
  PackedTensor tensor;
  std::vector<std::uint8_t> levels;
  std::vector<IntGrid> grids;
};

constexpr IntGroupKind kKinds[] = {IntGroupKind::kSymmetric, IntGroupKind::kAsymmetric, IntGroupKind::kBipolar};

const IntGroupCodec& codec_of(IntGroupKind kind) {
  constexpr std::string_view kNames[] = {"INT_SYM", "INT_ASYM", "BIPOLAR"};
  return *int_group_codec(codec_named(kNames[static_cast<int>(kind)]));
}

Made make(const Case& c, IntGroupKind kind, unsigned seed) {
  const IntGroupCodec& codec = codec_of(kind);
  const CodecParams params{c.bits, c.group};
  std::mt19937 random(seed);
  Made made;
  made.levels.resize(c.rows * c.cols);
  for (auto& level : made.levels) level = static_cast<std::uint8_t>(random() & ((1u << c.bits) - 1));
  made.grids.resize(c.rows * int_groups(params, c.cols));
  for (IntGrid& grid : made.grids) {
    grid.scale = float_from_half(half_from_float(0.001f * static_cast<float>(random() % 2000) - 1));
    grid.zero = codec.stores_zeros() ? static_cast<float>(random() % 256) : fixed_zero(kind, c.bits);
  }
  made.tensor = pack_int_groups("w", codec, Shape{c.rows, c.cols}, params, made.levels, made.grids);
  return made;
}

// The file layout, read as docs/codecs.md describes it.
double value_at(const PackedTensor& tensor, IntGroupKind kind, std::uint64_t row, std::uint64_t col) {
  const std::uint64_t cols = tensor.shape.cols(), plane = (cols + 7) / 8;
  const int bits = tensor.params.bits;
  int level = 0;
  for (int p = 0; p < bits; ++p) {
    const std::uint64_t at = (row * static_cast<std::uint64_t>(bits) + static_cast<std::uint64_t>(p)) * plane + col / 8;
    level += (std::to_integer<int>(tensor.part("planes").data()[at]) >> col % 8 & 1) << p;
  }
  const std::uint64_t size =
      tensor.params.group_size == 0 ? cols : static_cast<std::uint64_t>(tensor.params.group_size);
  const std::uint64_t group = row * ((cols + size - 1) / size) + col / size;
  std::uint16_t half = 0;
  std::memcpy(&half, tensor.part("scales").data() + 2 * group, 2);
  const double levels = std::pow(2.0, bits);
  const double zero = kind == IntGroupKind::kAsymmetric ? std::to_integer<int>(tensor.part("zeros").data()[group])
                      : kind == IntGroupKind::kBipolar || bits == 1 ? (levels - 1) / 2
                                                                    : levels / 2;
  return float_from_half(half) * (level - zero);
}

TEST(IntGroup, DecodesWhatTheLayoutSays) {
  for (const IntGroupKind kind : kKinds) {
    for (const Case& c : cases()) {
      const Made made = make(c, kind, static_cast<unsigned>(c.bits * 1000 + c.group));
      const std::vector<float> values = made.tensor.to_floats();
      const std::uint64_t groups = int_groups(made.tensor.params, c.cols);
      for (std::uint64_t row = 0; row < c.rows; ++row) {
        std::vector<std::uint8_t> levels(c.cols);
        std::vector<IntGrid> grids(groups);
        int_group_levels(made.tensor, row, levels);
        int_group_grids(made.tensor, row, grids);
        for (std::uint64_t g = 0; g < groups; ++g) {
          ASSERT_EQ(grids[g].scale, made.grids[row * groups + g].scale);
          ASSERT_EQ(grids[g].zero, made.grids[row * groups + g].zero);
        }
        for (std::uint64_t col = 0; col < c.cols; ++col) {
          ASSERT_EQ(levels[col], made.levels[row * c.cols + col]);
          ASSERT_EQ(values[row * c.cols + col], static_cast<float>(value_at(made.tensor, kind, row, col)))
              << c.bits << " bits, group " << c.group << ", [" << row << ", " << col << "]";
        }
      }
    }
  }
}

TEST(IntGroup, SlicesHoldTheSameWeights) {
  for (const Case& c : {Case{3, 32, 6, 200}, Case{2, 0, 6, 200}, Case{4, 24, 6, 96}, Case{8, 128, 6, 256}}) {
    const Made made = make(c, IntGroupKind::kAsymmetric, 5);
    const std::vector<float> all = made.tensor.to_floats();
    const std::vector<float> rows = made.tensor.rows(2, 5).to_floats();
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin() + static_cast<std::ptrdiff_t>(2 * c.cols)));
    const std::uint64_t step = made.tensor.codec->column_alignment(made.tensor.params);
    const PackedTensor columns = made.tensor.columns(step, c.cols);
    const std::vector<float> cut = columns.to_floats();
    for (std::uint64_t row = 0; row < c.rows; ++row) {
      for (std::uint64_t col = step; col < c.cols; ++col) {
        ASSERT_EQ(cut[row * (c.cols - step) + col - step], all[row * c.cols + col]);
      }
    }
    EXPECT_THROW(made.tensor.columns(1, c.cols), Error);
  }
}

// The widths' own bits, 16 for each scale and 8 for each zero point.
TEST(IntGroup, BitsPerWeightAreThoseOfTheParts) {
  for (int bits = 1; bits <= 8; ++bits) {
    EXPECT_DOUBLE_EQ(make({bits, 128, 4, 512}, IntGroupKind::kSymmetric, 1).tensor.bits_per_weight(),
                     bits + 16.0 / 128);
    EXPECT_DOUBLE_EQ(make({bits, 64, 4, 512}, IntGroupKind::kAsymmetric, 1).tensor.bits_per_weight(), bits + 24.0 / 64);
  }
}

double squared_error(const std::vector<float>& x, const std::vector<float>& weights, const IntGrid& grid, int bits) {
  double error = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double off = x[i] - grid.value(nearest_int_level(grid, x[i], bits));
    error += weights[i] * off * off;
  }
  return error;
}

// Levels above and below zero are as many in BIPOLAR, so that normal values lose less to it and keep their mean: with
// the best clip of each, 2 bits leave 0.1188 of the variance (the uniform quantizer of four levels) and no mean error.
TEST(IntGroup, OddLevelsFitNormalValuesBetter) {
  const std::vector<float> x = gaussian(1 << 16, 1, 3), even(x.size(), 1);
  double left[3], mean[3];
  for (const IntGroupKind kind : kKinds) {
    const IntGrid grid = fit_int_grid(x, even, 2, kind);
    double off = 0;
    for (const float value : x) off += grid.value(nearest_int_level(grid, value, 2)) - value;
    mean[static_cast<int>(kind)] = off / static_cast<double>(x.size());
    left[static_cast<int>(kind)] = squared_error(x, even, grid, 2) / static_cast<double>(x.size());
  }
  EXPECT_NEAR(left[2], 0.1188, 0.002);
  EXPECT_LT(std::abs(mean[2]), 0.005);
  EXPECT_GT(left[0], left[2] + 0.02);
  EXPECT_GT(std::abs(mean[0]), 0.01);
}

// Every scale on a fine grid, every zero point: the search may not be more than 3 % worse, and never worse than the
// grid that covers the values.
TEST(IntGroup, SearchComesCloseToTheBestGrid) {
  for (int bits = 1; bits <= 5; ++bits) {
    for (const IntGroupKind kind : kKinds) {
      for (unsigned seed = 1; seed <= 6; ++seed) {
        std::vector<float> x = gaussian(48, 0.1f, seed), weights = gaussian(48, 1, seed + 100);
        for (float& weight : weights) weight = weight * weight + 0.1f;
        if (seed % 2 == 0) {
          for (float& value : x) value += 0.12f;  // a group off centre
        }
        float largest = 0;
        for (const float value : x) largest = std::max(largest, std::abs(value));
        double best = INFINITY;
        for (int step = -400; step <= 400; ++step) {
          const float scale = largest * 2 * static_cast<float>(step) / 400;
          for (int zero = 0; zero < 1 << bits; ++zero) {
            const bool stored = kind == IntGroupKind::kAsymmetric;
            if (!stored && zero > 0) break;
            const float z = stored ? static_cast<float>(zero) : fixed_zero(kind, bits);
            best = std::min(best, squared_error(x, weights, {scale, z}, bits));
          }
        }
        const IntGrid found = fit_int_grid(x, weights, bits, kind), cover = cover_int_grid(x, bits, kind);
        const double error = squared_error(x, weights, found, bits);
        EXPECT_LE(error, 1.03 * best) << bits << " bits, " << codec_of(kind).name() << ", " << seed;
        EXPECT_LE(error, squared_error(x, weights, cover, bits) * (1 + 1e-5));
      }
    }
  }
}

TEST(IntGroup, RefusesWhatItCannotStore) {
  const auto& symmetric = *int_group_codec(codec_named("INT_SYM"));
  const auto& asymmetric = *int_group_codec(codec_named("INT_ASYM"));
  const std::vector<float> x(64, 1.0f);
  for (const CodecParams params : {CodecParams{0, 32}, CodecParams{9, 32}, CodecParams{4, -1}}) {
    EXPECT_THROW(symmetric.parts({2, 32}, params), Error);
    EXPECT_THROW(symmetric.column_alignment(params), Error);
    EXPECT_THROW(pack("w", symmetric, {2, 32}, x, params), Error);
  }
  const std::vector<std::uint8_t> levels(8, 3), high(8, 4);
  const CodecParams params{2, 8};
  const auto build = [&](const IntGroupCodec& codec, std::span<const std::uint8_t> l, IntGrid grid) {
    pack_int_groups("w", codec, {1, 8}, params, l, std::span(&grid, 1));
  };
  EXPECT_NO_THROW(build(symmetric, levels, {1, 2}));
  EXPECT_NO_THROW(build(codec_of(IntGroupKind::kBipolar), levels, {1, 1.5f}));
  EXPECT_THROW(build(codec_of(IntGroupKind::kBipolar), levels, {1, 2}), Error);
  EXPECT_THROW(build(symmetric, levels, {1, 1}), Error);     // a zero point
  EXPECT_THROW(build(symmetric, high, {1, 2}), Error);       // an integer of 3 bits
  EXPECT_THROW(build(symmetric, levels, {0.1f, 2}), Error);  // no half
  EXPECT_THROW(build(symmetric, levels, {INFINITY, 2}), Error);
  EXPECT_THROW(build(asymmetric, levels, {1, 0.5f}), Error);
  EXPECT_THROW(build(asymmetric, levels, {1, 256}), Error);
  EXPECT_THROW(build(asymmetric, std::span(levels).first(7), {1, 0}), Error);
}

}  // namespace
}  // namespace lathe
