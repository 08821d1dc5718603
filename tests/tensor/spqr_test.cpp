// SPQR and SPQR_ORDERED: the layout read bit by bit as its header describes it, slices, sizes, damaged parts, and what
// packing floats keeps.
#include "tensor/codecs/spqr.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

struct Made {
  PackedTensor tensor;
  SpqrWeights weights;
};

// Random numbers for everything, one weight in `rarity` an outlier (0: none).
Made make(int bits, int group, std::uint64_t rows, std::uint64_t cols, unsigned rarity, unsigned seed,
          bool ordered = false) {
  const CodecParams params{bits, group};
  std::mt19937 random(seed);
  const auto half = [&] { return float_from_half(half_from_float(0.001f * static_cast<float>(random() % 2000) - 1)); };
  Made made{{}, SpqrWeights({rows, cols}, params)};
  for (auto& level : made.weights.levels) level = static_cast<std::uint8_t>(random() & ((1u << bits) - 1));
  for (auto& code : made.weights.scale_codes) code = static_cast<std::uint8_t>(random() % 8);
  for (auto& code : made.weights.zero_codes) code = static_cast<std::uint8_t>(random() % 8);
  for (SpqrTile& tile : made.weights.tiles) tile = {half(), half(), half(), half()};
  for (auto& outliers : made.weights.row_outliers) {
    for (std::uint32_t c = 0; c < cols && rarity > 0; ++c) {
      if (random() % rarity == 0) outliers.push_back({c, half()});
    }
  }
  if (ordered) {
    made.weights.order.resize(cols);
    std::iota(made.weights.order.begin(), made.weights.order.end(), 0u);
    std::shuffle(made.weights.order.begin(), made.weights.order.end(), random);
  }
  made.tensor = pack_spqr("w", {rows, cols}, params, made.weights);
  return made;
}

unsigned bit(const Bytes& bytes, std::uint64_t byte, std::uint64_t at) {
  return std::to_integer<unsigned>(bytes.data()[byte]) >> at & 1;
}

std::uint32_t word(const Bytes& bytes, std::uint64_t index) {
  std::uint32_t value;
  std::memcpy(&value, bytes.data() + 4 * index, 4);
  return value;
}

// Where column `col` of the weight is stored.
std::uint64_t place_of(const PackedTensor& tensor, std::uint64_t col) {
  if (tensor.codec->name() == "SPQR") return col;
  const std::byte* order = tensor.part("order").data();
  for (std::uint64_t j = 0;; ++j) {
    if (std::to_integer<std::uint64_t>(order[2 * j]) + 256 * std::to_integer<std::uint64_t>(order[2 * j + 1]) == col) {
      return j;
    }
  }
}

// The value at [row, weight_col], from the parts of the whole tensor.
float value_at(const PackedTensor& tensor, std::uint64_t row, std::uint64_t weight_col) {
  const std::uint64_t col = place_of(tensor, weight_col);
  const std::uint64_t cols = tensor.shape.cols(), group = static_cast<std::uint64_t>(tensor.params.group_size);
  const std::uint64_t groups = (cols + group - 1) / group, g = col / group;
  if (tensor.params.stored > 0) {
    const Bytes &ends = tensor.part("ends"), &outliers = tensor.part("outliers");
    for (std::uint64_t i = word(ends, row); i < word(ends, row + 1); ++i) {
      if ((word(outliers, i) & 0xffff) == col) {
        return float_from_half(static_cast<std::uint16_t>(word(outliers, i) >> 16));
      }
    }
  }
  const auto planes = [&](std::string_view part, std::uint64_t first_plane, int bits, std::uint64_t planes_of_row,
                          std::uint64_t n, std::uint64_t i) {
    unsigned value = 0;
    const std::uint64_t plane = (n + 7) / 8;
    for (int p = 0; p < bits; ++p) {
      const std::uint64_t at = (row * planes_of_row + first_plane + static_cast<std::uint64_t>(p)) * plane + i / 8;
      value |= bit(tensor.part(part), at, i % 8) << p;
    }
    return static_cast<float>(value);
  };
  const int bits = tensor.params.bits;
  const float level = planes("planes", 0, bits, static_cast<std::uint64_t>(bits), cols, col);
  const float scale_code = planes("grids", 0, 3, 6, groups, g), zero_code = planes("grids", 3, 3, 6, groups, g);
  std::uint16_t halves[4];
  std::memcpy(halves, tensor.part("tiles").data() + (row / 16 * groups + g) * 8, 8);
  const auto number = [&](int i) { return float_from_half(halves[i]); };
  return (number(0) + number(1) * scale_code) * (level - (number(2) + number(3) * zero_code));
}

TEST(Spqr, DecodesWhatTheLayoutSays) {
  for (int bits = 2; bits <= 4; ++bits) {
    for (const int group : {1, 7, 16, 64}) {
      for (const auto& [rows, cols] : {std::pair<std::uint64_t, std::uint64_t>{1, 1}, {16, 64}, {37, 200}, {33, 13}}) {
        for (const auto& [rarity, ordered] :
             {std::pair{0u, false}, {1u, false}, {30u, false}, {0u, true}, {30u, true}}) {
          const Made made = make(bits, group, rows, cols, rarity, static_cast<unsigned>(bits * 100 + group), ordered);
          EXPECT_EQ(made.tensor.codec->name(), ordered ? "SPQR_ORDERED" : "SPQR");
          EXPECT_EQ(spqr_order(made.tensor), made.weights.order);
          const std::vector<float> values = made.tensor.to_floats();
          for (std::uint64_t row = 0; row < rows; ++row) {
            for (std::uint64_t col = 0; col < cols; ++col) {
              ASSERT_EQ(values[row * cols + col], value_at(made.tensor, row, col))
                  << bits << " bits, group " << group << ", [" << row << ", " << col << "] of " << cols;
            }
            const auto outliers = spqr_outliers(made.tensor, row);
            ASSERT_EQ(outliers.size(), made.weights.row_outliers[row].size());
            for (std::size_t i = 0; i < outliers.size(); ++i) {
              ASSERT_EQ(outliers[i].column, made.weights.row_outliers[row][i].column);
              const std::uint32_t column = ordered ? made.weights.order[outliers[i].column] : outliers[i].column;
              ASSERT_EQ(values[row * cols + column], made.weights.row_outliers[row][i].value);
            }
          }
        }
      }
    }
  }
}

// Rows that begin inside of a tile, slices of slices, and columns at whole bytes of the codes.
TEST(Spqr, SlicesHoldTheSameWeights) {
  const Made made = make(3, 16, 53, 300, 20, 3);
  const std::vector<float> all = made.tensor.to_floats();
  const auto expect_same = [&](const PackedTensor& slice, std::uint64_t row0, std::uint64_t col0) {
    const std::vector<float> cut = slice.to_floats();
    const std::uint64_t cols = slice.shape.cols();
    for (std::uint64_t i = 0; i < cut.size(); ++i) ASSERT_EQ(cut[i], all[(row0 + i / cols) * 300 + col0 + i % cols]);
  };
  for (const auto& [begin, end] : {std::pair{0, 53}, {16, 32}, {5, 9}, {15, 50}, {52, 53}, {7, 7}}) {
    const PackedTensor rows = made.tensor.rows(static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end));
    expect_same(rows, static_cast<std::uint64_t>(begin), 0);
    if (end - begin > 3) expect_same(rows.rows(2, 4), static_cast<std::uint64_t>(begin) + 2, 0);
    if (end > begin) expect_same(rows.columns(128, 300), static_cast<std::uint64_t>(begin), 128);
  }
  expect_same(made.tensor.columns(0, 128), 0, 0);
  EXPECT_THROW(made.tensor.columns(16, 128), Error);
}

// Columns in an order of their own: rows are cut as ever, columns cannot be.
TEST(Spqr, OrderedSlicesAreOfRows) {
  for (const unsigned rarity : {0u, 20u}) {
    const Made made = make(3, 16, 53, 300, rarity, 3, true);
    const std::vector<float> all = made.tensor.to_floats();
    for (const auto& [begin, end] : {std::pair{0, 53}, {16, 32}, {5, 9}, {52, 53}, {7, 7}}) {
      const PackedTensor rows = made.tensor.rows(static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end));
      EXPECT_EQ(rows.to_floats(), std::vector<float>(all.begin() + begin * 300, all.begin() + end * 300));
      EXPECT_EQ(rows.part("order").data(), made.tensor.part("order").data());
    }
    EXPECT_EQ(made.tensor.columns(0, 300).to_floats(), all);
    for (const auto& [begin, end] : {std::pair{0u, 128u}, {128u, 300u}, {1u, 0u}, {0u, 301u}}) {
      EXPECT_THROW(made.tensor.columns(begin, end), Error);
    }
    std::vector<float> piece(128);
    EXPECT_THROW(made.tensor.codec->decode_row(made.tensor, 0, 0, piece), Error);
  }
}

// Section 3 of the paper: b + 2 * 3 / g + 64 / (16 g) bits and 32 for each outlier, and 32 for each row.
TEST(Spqr, BitsPerWeightAreThoseOfTheFormula) {
  const Made made = make(3, 16, 64, 1024, 100, 1);
  const double outliers = static_cast<double>(made.tensor.params.stored) / (64.0 * 1024);
  EXPECT_NEAR(outliers, 0.01, 0.003);
  EXPECT_NEAR(made.tensor.bits_per_weight(), 3 + 6.0 / 16 + 64.0 / 256 + 32 * outliers + 32.0 * 65 / (64 * 1024), 1e-9);
  EXPECT_DOUBLE_EQ(make(3, 16, 64, 1024, 0, 1).tensor.bits_per_weight(), 3 + 6.0 / 16 + 64.0 / 256);
  EXPECT_DOUBLE_EQ(make(3, 16, 64, 1024, 0, 1, true).tensor.bits_per_weight(), 3 + 6.0 / 16 + 64.0 / 256 + 16.0 / 64);
}

TEST(Spqr, DamagedOutliersAndOrdersAreErrors) {
  Made made = make(3, 16, 4, 64, 8, 5);
  const auto damaged = [&](std::string_view part, std::size_t index, std::uint32_t value) {
    std::vector<Bytes> data;
    for (const Part& p : made.tensor.parts) {
      std::vector<std::byte> bytes(p.data.span().begin(), p.data.span().end());
      if (p.spec.name == part) std::memcpy(bytes.data() + 4 * index, &value, 4);
      data.push_back(Bytes::copy_of(bytes, "model.lathe"));
    }
    return packed_parts("w", *made.tensor.codec, {4, 64}, made.tensor.params, data);
  };
  EXPECT_EQ(damaged("planes", 0, 0).to_floats().size(), 256u);
  EXPECT_THROW(damaged("ends", 1, 1u << 30).to_floats(), Error);
  EXPECT_THROW(damaged("ends", 0, 5).to_floats(), Error);
  EXPECT_THROW(damaged("ends", 4, 0).to_floats(), Error);
  EXPECT_THROW(damaged("ends", 1, 1u << 30).rows(0, 2).to_floats(), Error);
  EXPECT_THROW(damaged("outliers", 0, 64).to_floats(), Error);                                     // a column too far
  EXPECT_THROW(damaged("outliers", 1, word(made.tensor.part("outliers"), 0)).to_floats(), Error);  // one twice
  const Codec& codec = codec_named("SPQR");
  for (const CodecParams& params : {CodecParams{1, 16}, CodecParams{5, 16}, CodecParams{3, 0}, CodecParams{3, 16, 16},
                                    CodecParams{3, 16, -1}, CodecParams{3, 16, 0, 257}}) {
    EXPECT_THROW(codec.parts({4, 64}, params), Error);
  }
  EXPECT_THROW(codec.parts({1, 65537}, {3, 16}), Error);

  made = make(3, 16, 4, 64, 8, 5, true);
  EXPECT_EQ(damaged("planes", 0, 0).to_floats().size(), 256u);
  const std::uint32_t first = made.weights.order[0];
  EXPECT_THROW(damaged("order", 0, first | first << 16).to_floats(), Error);  // one column twice
  EXPECT_THROW(damaged("order", 0, first | 64u << 16).to_floats(), Error);    // one too far
}

// Packing floats: a hundredth of the weights survives as outliers, and others move by half a step of their group's grid
// and what the 3-bit codes change of it.
TEST(Spqr, PackingKeepsTheWorstWeights) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> x(32 * 256);
  for (float& value : x) value = normal(random);
  for (std::size_t i = 50; i < x.size(); i += 401) x[i] = 0.5f;
  const PackedTensor tensor = pack("w", codec_named("SPQR"), {32, 256}, x, {3, 16});
  EXPECT_EQ(tensor.params.stored, 2u * 40);  // floor(0.01 * 16 * 256) per tile
  const std::vector<float> y = tensor.to_floats();
  double error = 0, energy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(x[i] != 0.5f || y[i] == 0.5f) << y[i];
    error += (x[i] - y[i]) * (x[i] - y[i]), energy += x[i] == 0.5f ? 0 : x[i] * x[i];
  }
  EXPECT_LT(error / energy, 0.03);  // uniform steps of a seventh of about 3.6 deviations: 0.022
}

// Every second column is a tenth of its neighbours: in order of size, small ones have groups of their own.
TEST(Spqr, OrderedPackingPutsColumnsOfLikeSizeTogether) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> x(32 * 256);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i % 2 == 0 ? 1.0f : 0.1f);
  const auto small_error = [&](std::string_view codec) {
    const std::vector<float> y = pack("w", codec_named(codec), {32, 256}, x, {3, 16}).to_floats();
    double error = 0;
    for (std::size_t i = 1; i < x.size(); i += 2) error += (x[i] - y[i]) * (x[i] - y[i]);
    return error;
  };
  EXPECT_LT(small_error("SPQR_ORDERED"), 0.05 * small_error("SPQR"));
}

}  // namespace
}  // namespace lathe
