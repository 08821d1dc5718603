// BALANCED: numbers taken apart bit by bit and digit by digit, grids against exhaustive searches, and what is refused.
#include "tensor/codecs/balanced.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "tensor/codecs/int_group_fit.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// The file layout, read as the header describes it.
double value_at(const PackedTensor& tensor, std::uint64_t row, std::uint64_t col) {
  const int bits = tensor.params.bits, base = bits == 1 ? 3 : 5, number_bits = bits == 1 ? 8 : 7;
  const std::uint64_t count = bits == 1 ? 5 : 3, cols = tensor.shape.cols(), numbers = (cols + count - 1) / count;
  const std::uint64_t plane = (numbers + 7) / 8, at = col / count;
  int number = 0;
  for (int p = 0; p < number_bits; ++p) {
    const std::uint64_t byte =
        (row * static_cast<std::uint64_t>(number_bits) + static_cast<std::uint64_t>(p)) * plane + at / 8;
    number += (std::to_integer<int>(tensor.part("numbers").data()[byte]) >> at % 8 & 1) << p;
  }
  for (std::uint64_t i = 0; i < col % count; ++i) number /= base;
  const std::uint64_t group =
      tensor.params.group_size == 0 ? cols : static_cast<std::uint64_t>(tensor.params.group_size);
  std::uint16_t half = 0;
  std::memcpy(&half, tensor.part("scales").data() + 2 * (row * ((cols + group - 1) / group) + col / group), 2);
  return float_from_half(half) * (number % base - base / 2);
}

TEST(Balanced, DecodesWhatTheLayoutSays) {
  for (const int bits : {1, 2}) {
    for (const int group : {0, 1, 24, 64}) {
      for (const std::uint64_t cols : {1, 13, 192, 300}) {
        const PackedTensor tensor = pack("w", codec_named("BALANCED"), {4, cols},
                                         gaussian(4 * cols, static_cast<unsigned>(cols)), {bits, group});
        const std::vector<float> values = tensor.to_floats(), integers = balanced_as_integers(tensor).to_floats();
        for (std::uint64_t row = 0; row < 4; ++row) {
          for (std::uint64_t col = 0; col < cols; ++col) {
            ASSERT_EQ(values[row * cols + col], static_cast<float>(value_at(tensor, row, col)))
                << bits << ", " << group;
          }
        }
        EXPECT_EQ(values, integers);
        EXPECT_EQ(balanced_from_integers(balanced_as_integers(tensor)).to_floats(), values);
      }
    }
  }
}

TEST(Balanced, FilesAreAsSmallAsTheDigits) {
  const Codec& codec = codec_named("BALANCED");
  EXPECT_DOUBLE_EQ(pack("w", codec, {4, 960}, gaussian(3840, 1), {1, 64}).bits_per_weight(), 1.6 + 16.0 / 64);
  EXPECT_DOUBLE_EQ(pack("w", codec, {4, 960}, gaussian(3840, 1), {2, 64}).bits_per_weight(), 7.0 / 3 + 16.0 / 64);
}

TEST(Balanced, SearchComesCloseToTheBestGrid) {
  for (const int bits : {1, 2}) {
    for (unsigned seed = 1; seed <= 6; ++seed) {
      std::vector<float> x = gaussian(48, seed), weights = gaussian(48, seed + 100);
      for (float& weight : weights) weight = weight * weight + 0.0005f;
      const auto error = [&](float scale) {
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double level = std::clamp(std::round(double{x[i]} / scale), -double(bits), double(bits));
          sum += weights[i] * std::pow(x[i] - scale * level, 2);
        }
        return sum;
      };
      double best = INFINITY;
      for (int step = 1; step <= 600; ++step) best = std::min(best, error(0.0005f * static_cast<float>(step)));
      EXPECT_LE(error(fit_balanced_grid(x, weights, bits).scale), 1.03 * best) << bits << ", " << seed;
    }
  }
}

TEST(Balanced, RefusesWhatItCannotHold) {
  const Codec& codec = codec_named("BALANCED");
  const std::vector<float> x = gaussian(64, 1);
  for (const CodecParams& params : {CodecParams{3, 32}, CodecParams{0, 32}, CodecParams{2, -1},
                                    CodecParams{.bits = 2, .group_size = 32, .activation_bits = 9}}) {
    EXPECT_THROW(pack("w", codec, {2, 32}, x, params), Error);
  }
  std::vector<float> bad = x;
  bad[5] = INFINITY;
  EXPECT_THROW(pack("w", codec, {2, 32}, bad, {2, 32}), Error);
  const std::vector<std::uint8_t> levels(8, 7);  // three steps above zero
  const IntGrid grid{1, 4};
  const PackedTensor integers =
      pack_int_groups("w", *int_group_codec(codec_named("INT_SYM")), {1, 8}, {3, 8}, levels, std::span(&grid, 1));
  EXPECT_THROW(balanced_from_integers(integers), Error);
}

// Numbers that no digits make, as a damaged file has them, decode to levels all the same.
TEST(Balanced, DamagedNumbersStayWithinTheLevels) {
  for (const int bits : {1, 2}) {
    PackedTensor tensor = pack("w", codec_named("BALANCED"), {1, 15}, gaussian(15, 1), {bits, 0});
    std::vector<std::byte> ones(tensor.part("numbers").size(), std::byte{0xff});
    tensor.parts[0].data = Bytes::copy_of(ones, "w");
    const std::vector<float> values = tensor.to_floats();
    std::uint16_t half = 0;
    std::memcpy(&half, tensor.part("scales").data(), 2);
    for (const float value : values) EXPECT_LE(std::abs(value), bits * std::abs(float_from_half(half)));
  }
}

TEST(Balanced, SlicesHoldTheSameWeights) {
  for (const int bits : {1, 2}) {
    const std::uint64_t cols = 400;
    const PackedTensor tensor = pack("w", codec_named("BALANCED"), {6, cols}, gaussian(6 * cols, 9), {bits, 8});
    const std::vector<float> all = tensor.to_floats(), rows = tensor.rows(2, 5).to_floats();
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin() + static_cast<std::ptrdiff_t>(2 * cols)));
    const std::uint64_t step = tensor.codec->column_alignment(tensor.params);
    const std::vector<float> cut = tensor.columns(step, cols).to_floats();
    for (std::uint64_t row = 0; row < 6; ++row) {
      for (std::uint64_t col = step; col < cols; ++col) {
        ASSERT_EQ(cut[row * (cols - step) + col - step], all[row * cols + col]);
      }
    }
  }
}

}  // namespace
}  // namespace lathe
