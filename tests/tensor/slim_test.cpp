// SLIM: the layout read bit by bit as its header describes it, slices, sizes to the byte, damaged widths, and what
// packing floats keeps.
#include "tensor/codecs/slim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "tensor/codecs/slim_fit.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

struct Made {
  PackedTensor tensor;
  std::vector<std::uint8_t> widths;
};

// Random numbers for everything; where `mixed`, as many blocks below the average as above it.
Made make(int bits, int group, std::uint64_t rows, std::uint64_t cols, bool mixed, unsigned seed) {
  const CodecParams params{bits, group};
  std::mt19937 random(seed);
  std::vector<std::size_t> order(slim_whole_blocks(params, cols));
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  Made made{{}, slim_width_map(params, cols, order, mixed ? order.size() / 2 : 0)};
  const std::uint64_t blocks = slim_blocks(params, cols);
  std::vector<std::uint8_t> levels(rows * cols);
  std::vector<IntGrid> grids(rows * blocks);
  for (std::uint64_t i = 0; i < levels.size(); ++i) {
    const std::size_t block = i % cols / static_cast<std::size_t>(group);
    levels[i] = static_cast<std::uint8_t>(random() & ((1u << made.widths[block]) - 1));
  }
  for (std::uint64_t i = 0; i < grids.size(); ++i) {
    grids[i] = {float_from_half(half_from_float(0.001f * static_cast<float>(random() % 2000) - 1)),
                static_cast<float>(random() % 256) * slim_zero_unit(made.widths[i % blocks])};
  }
  made.tensor = pack_slim("w", {rows, cols}, params, made.widths, levels, grids);
  return made;
}

// The value at [row, col], from the parts of the whole tensor.
float value_at(const Made& made, std::uint64_t row, std::uint64_t col) {
  const PackedTensor& t = made.tensor;
  const std::uint64_t cols = t.shape.cols(), group = static_cast<std::uint64_t>(t.params.group_size);
  const std::uint64_t blocks = (cols + group - 1) / group, block = col / group;
  std::uint64_t row_bytes = 0, before = 0, plane = 0;
  for (std::uint64_t b = 0; b < blocks; ++b) {
    const std::uint64_t bytes = (std::min(group, cols - b * group) + 7) / 8;
    if (b < block) before += made.widths[b] * bytes;
    if (b == block) plane = bytes;
    row_bytes += made.widths[b] * bytes;
  }
  unsigned level = 0;
  for (unsigned p = 0; p < made.widths[block]; ++p) {
    const std::byte byte = t.part("planes").data()[row * row_bytes + before + p * plane + col % group / 8];
    level |= (std::to_integer<unsigned>(byte) >> (col % group % 8) & 1u) << p;
  }
  std::uint16_t half;
  std::memcpy(&half, t.part("scales").data() + 2 * (row * blocks + block), 2);
  const auto zero = std::to_integer<int>(t.part("zeros").data()[row * blocks + block]);
  return float_from_half(half) *
         (static_cast<float>(level) - std::ldexp(static_cast<float>(zero), made.widths[block] - 8));
}

TEST(Slim, DecodesWhatTheLayoutSays) {
  for (int bits = 2; bits <= 6; ++bits) {
    for (const int group : {8, 24, 128}) {
      for (const auto& [rows, cols] : {std::pair<std::uint64_t, std::uint64_t>{1, 1}, {3, 40}, {5, 300}, {2, 1024}}) {
        for (const bool mixed : {false, true}) {
          const Made made = make(bits, group, rows, cols, mixed, static_cast<unsigned>(bits * 100 + group));
          const std::vector<float> values = made.tensor.to_floats();
          for (std::uint64_t i = 0; i < values.size(); ++i) {
            ASSERT_EQ(values[i], value_at(made, i / cols, i % cols))
                << bits << " bits, blocks of " << group << ", " << i;
          }
          EXPECT_EQ(slim_widths(made.tensor), made.widths);
        }
      }
    }
  }
}

TEST(Slim, SlicesHoldTheSameWeights) {
  const Made made = make(3, 16, 21, 300, true, 3);
  ASSERT_NE(made.tensor.params.stored, 0u);
  const std::vector<float> all = made.tensor.to_floats();
  const auto expect_same = [&](const PackedTensor& slice, std::uint64_t row0, std::uint64_t col0) {
    const std::vector<float> cut = slice.to_floats();
    const std::uint64_t cols = slice.shape.cols();
    for (std::uint64_t i = 0; i < cut.size(); ++i) ASSERT_EQ(cut[i], all[(row0 + i / cols) * 300 + col0 + i % cols]);
  };
  for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, 21}, {5, 9}, {20, 21}, {7, 7}}) {
    const PackedTensor rows = made.tensor.rows(begin, end);
    expect_same(rows, begin, 0);
    EXPECT_EQ(rows.part("planes").owner(), made.tensor.part("planes").owner());
    if (end > begin) expect_same(rows.columns(48, 300), begin, 48);
  }
  for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, 16}, {16, 160}, {288, 300}, {32, 32}}) {
    expect_same(made.tensor.columns(begin, end), 0, begin);
  }
  expect_same(made.tensor.columns(16, 160).columns(16, 48), 0, 32);
  EXPECT_THROW(made.tensor.columns(8, 16), Error);
}

// N bits, 24 bits per row and block, and one byte per block for the widths: one bit is not stored as two.
TEST(Slim, TakesTheBytesOfItsWidths) {
  for (const bool mixed : {false, true}) {
    const Made made = make(2, 128, 64, 1024, mixed, 1);
    std::uint64_t bits = 0;
    for (const std::uint8_t width : made.widths) bits += width;
    EXPECT_EQ(bits, 2u * 8);
    EXPECT_EQ(made.tensor.part("planes").size(), 64 * bits * 128 / 8);
    EXPECT_EQ(made.tensor.bytes(), 64u * (2 * 1024 / 8 + 3 * 8) + (mixed ? 8 : 0));
    EXPECT_EQ(std::count(made.widths.begin(), made.widths.end(), 1), mixed ? 4 : 0);
  }
  // Columns that have not the average.
  const Made made = make(2, 8, 4, 64, true, 1);
  const auto thin =
      static_cast<std::uint64_t>(std::find(made.widths.begin(), made.widths.end(), 1) - made.widths.begin());
  EXPECT_EQ(made.tensor.columns(8 * thin, 8 * thin + 8).part("planes").size(), 4u);
  EXPECT_EQ(made.tensor.codec->remark(make(2, 8, 1, 80, false, 1).tensor), "widths 22222222 22");
}

// A last block that is short has the average width, so that the average stays what it is.
TEST(Slim, ShortBlocksKeepTheAverage) {
  const Made made = make(3, 64, 2, 200, true, 9);
  EXPECT_EQ(made.widths.back(), 3);
  EXPECT_EQ(made.tensor.part("planes").size(), 2u * 3 * 200 / 8);
}

TEST(Slim, DamagedWidthsAreErrors) {
  const Made made = make(3, 16, 4, 64, true, 5);
  const auto damaged = [&](std::vector<std::uint8_t> widths, CodecParams params) {
    std::vector<Bytes> data;
    for (const Part& p : made.tensor.parts) {
      data.push_back(p.spec.name == "widths" ? Bytes::copy_of(std::as_bytes(std::span(widths)), "model.lathe")
                                             : Bytes::copy_of(p.data.span(), "model.lathe"));
    }
    return packed_parts("w", codec_named("SLIM"), {4, 64}, params, data);
  };
  const CodecParams params = made.tensor.params;
  EXPECT_EQ(damaged(made.widths, params).to_floats(), made.tensor.to_floats());
  EXPECT_EQ(damaged({4, 2, 3, 3}, params).to_floats().size(), 256u);  // adds up all the same
  for (const std::vector<std::uint8_t>& widths :
       {std::vector<std::uint8_t>{4, 4, 3, 3}, {2, 3, 3, 3}, {1, 5, 3, 3}, {0, 6, 3, 3}, {255, 3, 3, 3}}) {
    const PackedTensor tensor = damaged(widths, params);
    EXPECT_THROW(tensor.to_floats(), Error);
    EXPECT_THROW(tensor.columns(16, 32), Error);
    EXPECT_THROW(tensor.codec->remark(tensor), Error);
    EXPECT_THROW(tensor.rows(1, 2).to_floats(), Error);
  }
  EXPECT_THROW(damaged({3, 3, 3}, params), Error);  // one too few
  for (const std::uint64_t stored : {1ull, 23ull, 25ull, ~0ull}) {
    EXPECT_THROW(damaged(made.widths, {3, 16, 0, stored}), Error) << stored;
  }
  const Codec& codec = codec_named("SLIM");
  for (const CodecParams& bad : {CodecParams{1, 16}, CodecParams{7, 16}, CodecParams{3, 0}, CodecParams{3, 12},
                                 CodecParams{3, -8}, CodecParams{3, 16, 0, 33}}) {
    EXPECT_THROW(codec.parts({4, 64}, bad), Error) << bad.bits << ", " << bad.group_size << ", " << bad.stored;
  }
}

TEST(Slim, PackingRefusesWhatCannotBeStored) {
  const std::vector<std::uint8_t> widths = {2, 2}, levels(32, 3);
  const auto pack_one = [&](std::vector<std::uint8_t> w, std::vector<std::uint8_t> l, IntGrid grid) {
    return pack_slim("w", {1, 32}, {2, 16}, w, l, std::vector<IntGrid>(2, grid));
  };
  EXPECT_EQ(pack_one(widths, levels, {0.5f, 1.25f}).to_floats(), std::vector<float>(32, 0.875f));
  EXPECT_THROW(pack_one({2, 4}, levels, {0.5f, 1}), Error);
  EXPECT_THROW(pack_one({2, 1}, levels, {0.5f, 1}), Error);  // level 3 has two bits
  EXPECT_THROW(pack_one(widths, std::vector<std::uint8_t>(32, 4), {0.5f, 1}), Error);
  EXPECT_THROW(pack_one(widths, levels, {0.1f, 1}), Error);
  EXPECT_THROW(pack_one(widths, levels, {INFINITY, 1}), Error);
  EXPECT_THROW(pack_one(widths, levels, {0.5f, 1.0f / 128}), Error);
  EXPECT_THROW(pack_one(widths, levels, {0.5f, 4}), Error);
  EXPECT_THROW(pack_one(widths, levels, {0.5f, -1}), Error);
}

double error_of(const IntGrid& grid, const std::vector<float>& x, int width) {
  double error = 0;
  for (const float value : x) {
    double nearest = INFINITY;
    for (int level = 0; level < 1 << width; ++level) {
      nearest = std::min(nearest, std::abs(double{value} - grid.value(level)));
    }
    error += nearest * nearest;
  }
  return error;
}

// One bit is mean +- mean distance, which for a normal distribution leaves 1 - 2 / pi of its variance.
TEST(Slim, OneBitIsTheMeanAndTheDistanceFromIt) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.1f, 0.5f);
  std::vector<float> x(4096);
  for (float& value : x) value = normal(random);
  const IntGrid grid = fit_slim_grid(x, std::vector<float>(x.size(), 1.0f), 1);
  EXPECT_NEAR(0.5f * (grid.value(0) + grid.value(1)), 0.1f, 0.04f);
  EXPECT_NEAR(0.5f * grid.scale, 0.5f * std::sqrt(2 / M_PI), 0.02f);
  EXPECT_NEAR(error_of(grid, x, 1) / 4096, 0.25 * (1 - 2 / M_PI), 0.01);
  const IntGrid constant = fit_slim_grid(std::vector<float>(16, 0.5f), std::vector<float>(16, 1.0f), 1);
  EXPECT_NEAR(error_of(constant, std::vector<float>(16, 0.5f), 1), 0, 1e-6);
}

// No scale and zero point of a fine raster is much better.
TEST(Slim, GridsAreNearTheBest) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.03f, 1);
  for (const int width : {1, 2, 3}) {
    double total = 0, best_total = 0;
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<float> x(32);
      for (float& value : x) value = normal(random);
      total += error_of(fit_slim_grid(x, std::vector<float>(32, 1.0f), width), x, width);
      double best = INFINITY;
      for (int s = 1; s < 100; ++s) {
        for (int z = 0; z < 256; z += 4) {
          const IntGrid grid{0.03f * static_cast<float>(s), static_cast<float>(z) * slim_zero_unit(width)};
          best = std::min(best, error_of(grid, x, width));
        }
      }
      best_total += best;
    }
    EXPECT_LT(total, 1.15 * best_total) << width << " bits";
  }
}

// Blocks that hold little give bits to blocks that hold much, and the error is less than with even widths; blocks that
// are alike stay so.
TEST(Slim, PackingGivesBitsToTheLargest) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> x(16 * 256), alike(x.size());
  const float sizes[] = {1, 0.1f, 5, 1, 0.2f, 1, 3, 1.2f};
  for (std::size_t i = 0; i < x.size(); ++i) alike[i] = normal(random), x[i] = alike[i] * sizes[i % 256 / 32];
  const PackedTensor tensor = pack("w", codec_named("SLIM"), {16, 256}, x, {2, 32});
  EXPECT_EQ(slim_widths(tensor), (std::vector<std::uint8_t>{2, 1, 3, 2, 1, 2, 3, 2}));
  EXPECT_EQ(pack("w", codec_named("SLIM"), {16, 256}, alike, {2, 32}).params.stored, 0u);
  const std::vector<float> y = tensor.to_floats();
  const std::vector<float> z = pack("w", codec_named("INT_ASYM"), {16, 256}, x, {2, 32}).to_floats();
  double mixed = 0, even = 0;
  for (std::size_t i = 0; i < x.size(); ++i) mixed += std::pow(x[i] - y[i], 2), even += std::pow(x[i] - z[i], 2);
  EXPECT_LT(mixed, 0.5 * even);
  // What does not matter gets no bits: importance takes part.
  std::vector<float> importance(256, 1.0f);
  std::fill(importance.begin() + 64, importance.begin() + 96, 1e-6f);
  const PackedTensor weighted = pack("w", codec_named("SLIM"), {16, 256}, x, {2, 32}, importance);
  EXPECT_EQ(slim_widths(weighted)[2], 1);
}

}  // namespace
}  // namespace lathe
