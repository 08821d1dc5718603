// DGQ: the layout read byte by byte, what it refuses, and rounding and the search for factors against plain ones.
#include "tensor/codecs/dgq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// The value nearest to x among those an 8-bit integer holds, by looking at all.
double nearest(double x, double factor, int scale, int zero) {
  double best = 0;
  for (int code = 0; code <= 15; ++code) {
    const int value = scale * (code - zero);
    if (std::abs(value) <= 127 && std::abs(factor * value - x) < std::abs(best - x)) best = factor * value;
  }
  return best;
}

double squared_error(const std::vector<float>& x, const std::vector<float>& y, std::span<const float> weights = {}) {
  double error = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += std::pow(double{x[i]} - y[i], 2) * (weights.empty() ? 1 : weights[i % weights.size()]);
  }
  return error;
}

DgqRow random_row(std::mt19937& random, std::uint64_t cols, std::uint64_t group) {
  DgqRow row;
  row.factor = 0.001f + 0.00001f * static_cast<float>(random() % 99);
  for (std::uint64_t c = 0; c < cols; ++c) {
    if (c % group == 0) {
      row.zeros.push_back(static_cast<std::uint8_t>(random() % 16));
      row.scales.push_back(static_cast<std::uint8_t>(1 + random() % 127));
    }
    const int zero = row.zeros.back(), scale = row.scales.back();
    int code = static_cast<int>(random() % 16);
    while (std::abs(scale * (code - zero)) > 127) code += code < zero ? 1 : -1;
    row.codes.push_back(static_cast<std::uint8_t>(code));
  }
  return row;
}

TEST(Dgq, DecodesWhatTheLayoutSays) {
  for (const int group : {1, 24, 32, 128}) {
    for (const std::uint64_t cols : {1, 13, 192, 300}) {
      constexpr std::uint64_t kRows = 5;
      std::mt19937 random(static_cast<unsigned>(group));
      const auto width = static_cast<std::uint64_t>(group);
      const std::uint64_t groups = (cols + width - 1) / width;
      std::vector<DgqRow> rows;
      for (std::uint64_t r = 0; r < kRows; ++r) rows.push_back(random_row(random, cols, width));
      const PackedTensor tensor = pack_dgq_rows("w", {kRows, cols}, {4, group}, rows);
      const std::vector<float> values = tensor.to_floats();
      const auto byte = [&](std::string_view part, std::uint64_t at) {
        return std::to_integer<int>(tensor.part(part).data()[at]);
      };
      const std::uint64_t plane = (cols + 7) / 8;
      for (std::uint64_t r = 0; r < kRows; ++r) {
        float factor = 0;
        std::memcpy(&factor, tensor.part("factors").data() + r * sizeof factor, sizeof factor);
        ASSERT_EQ(factor, rows[r].factor);
        for (std::uint64_t c = 0; c < cols; ++c) {
          int code = 0;
          for (std::uint64_t p = 0; p < 4; ++p) code |= (byte("planes", (r * 4 + p) * plane + c / 8) >> c % 8 & 1) << p;
          ASSERT_EQ(code, rows[r].codes[c]);
          const std::uint64_t at = r * groups + c / width;
          ASSERT_EQ(values[r * cols + c], factor * static_cast<float>(byte("scales", at) * (code - byte("zeros", at))));
        }
        const DgqRow again = dgq_row(tensor, r);
        EXPECT_EQ(again.codes, rows[r].codes);
        EXPECT_EQ(again.zeros, rows[r].zeros);
        EXPECT_EQ(again.scales, rows[r].scales);
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

// 4 bits, 8 bits each for scale and zero point of a group, 32 for a row's factor.
TEST(Dgq, BitsPerWeightAreThoseOfTheFormula) {
  const PackedTensor tensor = pack("w", codec_named("DGQ"), {4, 1024}, gaussian(4096, 1), {4, 128});
  EXPECT_DOUBLE_EQ(tensor.bits_per_weight(), 4 + 16.0 / 128 + 32.0 / 1024);
}

// Bytes of a file that no encoder writes: an error that names tensor and row, never another number.
TEST(Dgq, RefusesNumbersThatAreNoEightBitIntegers) {
  struct Bad {
    std::uint8_t zero, scale, code;
  };
  for (const Bad& bad :
       {Bad{16, 1, 8}, {255, 255, 15}, {0, 0, 0}, {8, 128, 8}, {0, 64, 2}, {15, 127, 13}, {8, 32, 4}}) {
    SCOPED_TRACE(fmt::format("{} {} {}", bad.zero, bad.scale, bad.code));
    std::vector<DgqRow> rows(2);
    for (DgqRow& row : rows) row = {std::vector<std::uint8_t>(40, 3), {3, 3, 3}, {1, 1, 1}, 1};
    PackedTensor tensor = pack_dgq_rows("blk.0.w", {2, 40}, {4, 16}, rows);
    rows[1].codes[20] = bad.code, rows[1].zeros[1] = bad.zero, rows[1].scales[1] = bad.scale;
    EXPECT_THROW(pack_dgq_rows("blk.0.w", {2, 40}, {4, 16}, rows), Error);

    std::vector<Bytes> parts;
    for (const Part& part : tensor.parts) {
      std::vector<std::byte> bytes(part.data.span().begin(), part.data.span().end());
      if (part.spec.name == "zeros") bytes[4] = static_cast<std::byte>(bad.zero);
      if (part.spec.name == "scales") bytes[4] = static_cast<std::byte>(bad.scale);
      for (std::size_t p = 0; part.spec.name == "planes" && p < 4; ++p) {
        std::byte& byte = bytes[(4 + p) * 5 + 20 / 8];
        byte &= ~(std::byte{1} << 20 % 8);
        if (bad.code >> p & 1) byte |= std::byte{1} << 20 % 8;
      }
      parts.push_back(Bytes::copy_of(bytes, "file"));
    }
    const PackedTensor hostile = packed_parts("blk.0.w", codec_named("DGQ"), {2, 40}, {4, 16}, parts);
    std::vector<float> out(40);
    EXPECT_NO_THROW(hostile.decode_row(0, out));
    try {
      hostile.decode_row(1, out);
      FAIL() << "decoded";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("blk.0.w"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("row 1, group 1"), std::string::npos) << error.what();
    }
  }
}

TEST(Dgq, RoundsToTheNearestEightBitInteger) {
  const CodecParams params{4, 32};
  const std::vector<float> x = gaussian(200, 4);
  std::vector<IntGrid> grids;
  for (std::size_t begin = 0; begin < 200; begin += 32) {
    grids.push_back(cover_int_grid(std::span(x).subspan(begin, std::min<std::size_t>(32, 200 - begin)), 4,
                                   IntGroupKind::kAsymmetric));
  }
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  bool bounded = false;
  for (const int number : {1, 20, 50, 80}) {
    const float factor = dgq_factor(largest, number);
    EXPECT_NEAR(factor, (1.02 - 0.82 * number / 80) * largest / 127, 1e-6 * largest);
    const DgqRow row = round_dgq_row(x, grids, factor, params);
    for (std::size_t c = 0; c < 200; ++c) {
      const int scale = row.scales[c / 32], zero = row.zeros[c / 32], integer = scale * (row.codes[c] - zero);
      EXPECT_EQ(zero, grids[c / 32].zero);
      EXPECT_NEAR(scale, grids[c / 32].scale / factor, 0.51);
      EXPECT_LE(std::abs(integer), 127);
      bounded |= std::abs(integer) + scale > 127;
      EXPECT_NEAR(double{factor} * integer, nearest(x[c], factor, scale, zero), 1e-7);
    }
  }
  EXPECT_TRUE(bounded);  // factors this small reach the ends of 8 bits
}

// Each row's factor against all of them, tried one after the other in double precision.
TEST(Dgq, PackingTakesTheFactorWithTheLeastError) {
  const CodecParams params{4, 32};
  const std::vector<float> x = gaussian(6 * 200, 9);
  std::vector<float> importance(200);
  for (std::size_t c = 0; c < 200; ++c) importance[c] = c % 7 == 0 ? 50.0f : 1.0f;
  double fixed = 0, searched = 0;
  for (const std::span<const float> weights : {std::span<const float>(), std::span<const float>(importance)}) {
    const PackedTensor tensor = pack("w", codec_named("DGQ"), {6, 200}, x, params, weights);
    for (std::size_t r = 0; r < 6; ++r) {
      const std::vector<float> row(x.begin() + static_cast<std::ptrdiff_t>(r * 200),
                                   x.begin() + static_cast<std::ptrdiff_t>((r + 1) * 200));
      float largest = 0;
      for (const float value : row) largest = std::max(largest, std::abs(value));
      const DgqRow got = dgq_row(tensor, r);
      double least = INFINITY;
      for (int number = 1; number <= 80; ++number) {
        const double factor = (1.02 - 0.82 * number / 80) * largest / 127;
        double error = 0;
        for (std::size_t begin = 0; begin < 200; begin += 32) {
          const std::size_t count = std::min<std::size_t>(32, 200 - begin);
          const std::span<const float> group = std::span(row).subspan(begin, count);
          const std::vector<float> even(count, 1.0f);
          const IntGrid grid = fit_int_grid(group, weights.empty() ? std::span(even) : weights.subspan(begin, count), 4,
                                            IntGroupKind::kAsymmetric);
          const int scale = static_cast<int>(std::clamp(std::nearbyint(grid.scale / factor), 1.0, 127.0));
          for (std::size_t i = 0; i < count; ++i) {
            const double off = group[i] - nearest(group[i], factor, scale, static_cast<int>(grid.zero));
            error += off * off * (weights.empty() ? 1 : weights[begin + i]);
          }
        }
        least = std::min(least, error);
      }
      std::vector<float> decoded(200);
      tensor.decode_row(r, decoded);
      const double error = squared_error(row, decoded, weights);
      EXPECT_NEAR(error, least, 1e-3 * least) << r;
      // A factor that just covers the largest magnitude, the groups' grids being the same.
      std::vector<IntGrid> grids;
      for (std::size_t g = 0; g < got.scales.size(); ++g) {
        grids.push_back({got.factor * got.scales[g], static_cast<float>(got.zeros[g])});
      }
      const DgqRow plain = round_dgq_row(row, grids, largest / 127, params);
      pack_dgq_rows("w", {1, 200}, params, std::span(&plain, 1)).decode_row(0, decoded);
      fixed += squared_error(row, decoded, weights), searched += error;
    }
  }
  EXPECT_LT(searched, 0.98 * fixed);
}

TEST(Dgq, BearsRowsOfAnySize) {
  for (const float size : {0.0f, 1e-40f, 1e-30f, 1e30f, 3e38f}) {
    std::vector<float> x(64);
    for (std::size_t i = 0; i < 64; ++i) x[i] = size * ((static_cast<float>(i) - 20) / 44);
    const std::vector<float> y = pack("w", codec_named("DGQ"), {1, 64}, x, {4, 32}).to_floats();
    for (std::size_t i = 0; i < 64; ++i) EXPECT_NEAR(y[i] / 2, x[i] / 2, 0.05 * double{size}) << size << ", " << i;
  }
  std::vector<float> x(64, 0.5f);
  x[7] = NAN;
  EXPECT_THROW(pack("w", codec_named("DGQ"), {1, 64}, x, {4, 32}), Error);
  DgqRow row{std::vector<std::uint8_t>(8), {0}, {1}, INFINITY};
  EXPECT_THROW(pack_dgq_rows("w", {1, 8}, {4, 8}, std::span(&row, 1)), Error);
  row.factor = std::numeric_limits<float>::max();
  EXPECT_THROW(pack_dgq_rows("w", {1, 8}, {4, 8}, std::span(&row, 1)), Error);
}

TEST(Dgq, RefusesOtherWidths) {
  const Codec& codec = codec_named("DGQ");
  for (const CodecParams& params : {CodecParams{3, 128}, CodecParams{8, 128}, CodecParams{4, 0}, CodecParams{4, -1}}) {
    EXPECT_THROW(codec.parts({2, 128}, params), Error);
    EXPECT_THROW(pack("w", codec, {2, 128}, std::vector<float>(256), params), Error);
  }
}

}  // namespace
}  // namespace lathe
