// Every codec against recordings of an independent implementation: decoding is exact, encoding of the simple formats
// gives the same bytes, and encoding of the searched formats is at least as close to the weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/file.h"
#include "base/half.h"
#include "base/json.h"
#include "support/data.h"
#include "tensor/codecs/iq4.h"
#include "tensor/codecs/iq_grids.h"
#include "tensor/peer_codecs.h"

#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

using test::kPeerCols;
using test::kPeerRows;
using test::PeerType;

bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

// Root of the weighted mean squared error of one row.
double row_error(std::span<const float> x, std::span<const float> decoded, std::span<const float> weights) {
  double sum = 0, total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double weight = weights.empty() ? 1.0 : weights[i], error = static_cast<double>(x[i]) - decoded[i];
    sum += weight * error * error;
    total += weight;
  }
  return std::sqrt(sum / total);
}

TEST(PeerCodecs, EveryRecordedTypeIsInTheTableWithItsLayout) {
  ASSERT_GE(test::peer_types().size(), 35u);
  for (const PeerType& type : test::peer_types()) {
    const Codec* codec = find_codec_by_ggml_type(type.ggml_type);
    ASSERT_NE(codec, nullptr) << type.name;
    EXPECT_EQ(find_codec(type.name), codec) << type.name;
    const BlockFormat* format = block_format(*codec);
    ASSERT_NE(format, nullptr);
    EXPECT_EQ(format->block_size, type.block_size) << type.name;
    EXPECT_EQ(format->block_bytes, type.block_bytes) << type.name;
  }
}

TEST(PeerCodecs, DecodingIsExact) {
  int sets = 0;
  for (const PeerType& type : test::peer_types()) {
    const BlockFormat& format = *block_format(*find_codec_by_ggml_type(type.ggml_type));
    for (const test::PeerDecode& set : type.decode) {
      std::vector<float> decoded(set.floats.size());
      ASSERT_EQ(set.floats.size() / format.block_size * format.block_bytes, set.blocks.size());
      format.decode(set.blocks.data(), decoded.data(), decoded.size());
      ++sets;
      for (std::size_t i = 0; i < decoded.size(); ++i) {
        ASSERT_TRUE(same_bits(decoded[i], set.floats[i]))
            << type.name << " " << set.set << " weight " << i << ": " << decoded[i] << ", recorded " << set.floats[i];
      }
    }
  }
  EXPECT_GE(sets, 56);
}

// Any number of blocks, starting at any block, at any address.
TEST(PeerCodecs, DecodingDoesNotDependOnPositionOrAlignment) {
  for (const PeerType& type : test::peer_types()) {
    const BlockFormat& format = *block_format(*find_codec_by_ggml_type(type.ggml_type));
    for (const test::PeerDecode& set : type.decode) {
      const std::size_t blocks = set.floats.size() / format.block_size;
      std::vector<std::byte> shifted(set.blocks.size() + 1);
      std::copy(set.blocks.begin(), set.blocks.end(), shifted.begin() + 1);
      const std::size_t odd[][2] = {{0, 1}, {1, 1}, {1, 2}, {0, 3}, {blocks - 1, 1}, {0, 0}};
      for (const auto& [first, count] : odd) {
        std::vector<float> decoded(count * format.block_size + 1, 77.0f);
        format.decode(shifted.data() + 1 + first * format.block_bytes, decoded.data(), count * format.block_size);
        for (std::size_t i = 0; i + 1 < decoded.size(); ++i) {
          ASSERT_TRUE(same_bits(decoded[i], set.floats[first * format.block_size + i])) << type.name;
        }
        EXPECT_EQ(decoded.back(), 77.0f) << type.name << " writes past its end";
      }
    }
  }
}

TEST(PeerCodecs, TheSimpleFormatsEncodeToTheSameBytes) {
  const std::set<std::string> simple = {"f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "tq1_0", "tq2_0"};
  std::size_t checked = 0;
  for (const PeerType& type : test::peer_types()) {
    if (!simple.contains(type.name)) continue;
    const PackedTensor tensor = pack(type.name, *find_codec(type.name), {kPeerRows, kPeerCols}, test::peer_rows());
    const Bytes& blocks = tensor.part("blocks");
    ASSERT_EQ(blocks.size(), type.encoded.size()) << type.name;
    EXPECT_EQ(std::memcmp(blocks.data(), type.encoded.data(), blocks.size()), 0) << type.name;
    ++checked;
  }
  EXPECT_EQ(checked, simple.size());
}

// Formats whose encoder searches: no row more than 1% worse, and no worse over all rows taken together.
TEST(PeerCodecs, TheSearchedFormatsEncodeAtLeastAsClosely) {
  int checked = 0;
  for (const PeerType& type : test::peer_types()) {
    const Codec& codec = *find_codec_by_ggml_type(type.ggml_type);
    if (type.row_rmse.empty() || !codec.can_encode()) continue;
    const std::vector<float>& x = test::peer_rows();
    const std::vector<float> y = pack(type.name, codec, {kPeerRows, kPeerCols}, x).to_floats();
    double ratio_sum = 0;
    for (int row = 0; row < kPeerRows; ++row) {
      const auto of_row = [&](const std::vector<float>& v) { return std::span(v).subspan(row * kPeerCols, kPeerCols); };
      const double ratio = row_error(of_row(x), of_row(y), {}) / type.row_rmse[row];
      EXPECT_LE(ratio, 1.01) << type.name << " row " << row;
      ratio_sum += ratio;
    }
    EXPECT_LE(ratio_sum / kPeerRows, 1.00001) << type.name;
    ++checked;
  }
  EXPECT_GE(checked, 16);
}

TEST(PeerCodecs, ImportanceIsHonouredAtLeastAsWell) {
  int checked = 0;
  for (const PeerType& type : test::peer_types()) {
    const Codec& codec = *find_codec_by_ggml_type(type.ggml_type);
    if (type.row_weighted_rmse.empty() || !codec.can_encode()) continue;
    const std::vector<float>& x = test::peer_rows();
    const std::vector<float> y =
        pack(type.name, codec, {kPeerRows, kPeerCols}, x, {}, test::peer_importance()).to_floats();
    double ratio_sum = 0;
    for (int row = 0; row < kPeerRows; ++row) {
      const auto of_row = [&](const std::vector<float>& v) { return std::span(v).subspan(row * kPeerCols, kPeerCols); };
      const double ratio = row_error(of_row(x), of_row(y), test::peer_importance()) / type.row_weighted_rmse[row];
      EXPECT_LE(ratio, 1.02) << type.name << " row " << row;
      ratio_sum += ratio;
    }
    EXPECT_LE(ratio_sum / kPeerRows, 1.00001) << type.name;
    ++checked;
  }
  EXPECT_GE(checked, 14);
}

// An encoder that ignored the weights would fail this for every searched format.
TEST(PeerCodecs, ImportanceLowersTheWeightedError) {
  const std::vector<float>& x = test::peer_rows();
  for (const char* name :
       {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "Q1_0", "Q2_0"}) {
    const auto error = [&](std::span<const float> importance) {
      const std::vector<float> y = pack(name, *find_codec(name), {kPeerRows, kPeerCols}, x, {}, importance).to_floats();
      double sum = 0;
      for (int row = 0; row < kPeerRows; ++row) {
        const auto of_row = [&](const std::vector<float>& v) {
          return std::span(v).subspan(row * kPeerCols, kPeerCols);
        };
        sum += row_error(of_row(x), of_row(y), test::peer_importance());
      }
      return sum;
    };
    EXPECT_LT(error(test::peer_importance()), 0.995 * error({})) << name;
  }
}

template <class Grid>
void expect_grid(const Json& table, const Grid& grid, const char* name) {
  const auto values = table.at("values").get<std::vector<int>>();
  const auto digits = table.at("digits").get<std::string>();
  const std::size_t width = table.at("width");
  ASSERT_EQ(grid.size(), table.at("entries").get<std::size_t>()) << name;
  ASSERT_EQ(grid[0].size(), width) << name;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const int index = digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'a' + 10;
    ASSERT_EQ(grid[i / width][i % width], values[index]) << name << " point " << i / width;
  }
}

TEST(PeerCodecs, CodebooksAreTheRecordedOnes) {
  const std::string path = test::golden("golden/peer/codec-grids.json").string();
  const Json json = parse_json(read_file(path), path);
  expect_grid(json.at("iq2_xxs"), kIq2XxsGrid, "iq2_xxs");
  expect_grid(json.at("iq2_xs"), kIq2XsGrid, "iq2_xs");
  expect_grid(json.at("iq2_s"), kIq2SGrid, "iq2_s");
  expect_grid(json.at("iq3_xxs"), kIq3XxsGrid, "iq3_xxs");
  expect_grid(json.at("iq3_s"), kIq3SGrid, "iq3_s");
  expect_grid(json.at("iq1_s"), kIq1Grid, "iq1_s");
  const auto levels = json.at("iq4_nl").get<std::vector<int>>();
  ASSERT_EQ(levels.size(), kIq4Levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) EXPECT_EQ(kIq4Levels[i], levels[i]);
  const auto signs = json.at("ksigns").at("digits").get<std::string>();
  for (unsigned i = 0; i < 128; ++i) {
    for (unsigned k = 0; k < 8; ++k) EXPECT_EQ(even_signs(i) >> k & 1, signs[i * 8 + k] == '1' ? 1u : 0u) << i;
  }
}

// The conversions that F16 and BF16 rest on, at ties, subnormals, overflow and NaN.
TEST(PeerCodecs, SixteenBitRoundingIsTheRecordedOne) {
  const std::string path = test::golden("golden/peer/codecs.json").string();
  const Json rounding = parse_json(read_file(path), path).at("rounding");
  const auto floats = rounding.at("f32_bits").get<std::vector<std::uint32_t>>();
  const auto halves = rounding.at("f16_bits").get<std::vector<std::uint16_t>>();
  const auto bfloats = rounding.at("bf16_bits").get<std::vector<std::uint16_t>>();
  ASSERT_GE(floats.size(), 30u);
  for (std::size_t i = 0; i < floats.size(); ++i) {
    const float value = std::bit_cast<float>(floats[i]);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_from_half(half_from_float(value))));
      EXPECT_TRUE(std::isnan(float_from_bfloat(bfloat_from_float(value))));
    } else {
      EXPECT_EQ(half_from_float(value), halves[i]) << value;
      EXPECT_EQ(bfloat_from_float(value), bfloats[i]) << value;
    }
  }
}

}  // namespace
}  // namespace lathe
