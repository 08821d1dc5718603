// Products of bit planes, every width of weights with every width of activations: the integers are those of plain
// 64-bit sums, bit for bit.
#include <cmath>
#include <random>

#include "base/half.h"
#include "kernels/laid_out.h"
#include "tensor/codecs/balanced.h"

namespace lathe::kernels {
namespace {

struct Weight {
  Linear linear;
  std::vector<std::uint8_t> levels;  // [out, in]
  std::vector<IntGrid> grids;        // [out, groups]
  std::uint64_t group, groups;
};

Weight make_weight(std::string_view codec_name, const CodecParams& params, std::uint64_t out, std::uint64_t in) {
  const IntGroupCodec& codec = *int_group_codec(codec_named(codec_name));
  std::mt19937 random(static_cast<std::uint32_t>(params.bits + 10 * params.activation_bits + in));
  Weight w;
  w.group = int_group_columns(params, in), w.groups = int_groups(params, in);
  w.levels.resize(out * in);
  for (auto& level : w.levels) level = static_cast<std::uint8_t>(random() & ((1u << params.bits) - 1));
  w.grids.resize(out * w.groups);
  for (IntGrid& grid : w.grids) {
    grid.scale = float_from_half(half_from_float(0.001f * static_cast<float>(random() % 2000) - 1));
    grid.zero = codec.stores_zeros() ? static_cast<float>(random() % 256) : fixed_zero(codec.kind(), params.bits);
  }
  w.linear.weight = pack_int_groups("w", codec, Shape{out, in}, params, w.levels, w.grids);
  return w;
}

// A row of input as the papers quantize it: twice what every integer means, and half the step.
struct Row {
  std::vector<std::int64_t> twice;
  float scale;
};

Row quantized(const Floats& x, int bits, bool bipolar) {
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  const float low = std::min(0.0f, *least), high = std::max(0.0f, *most);
  const auto highest = static_cast<float>((1 << bits) - 1);
  Row row;
  if (bipolar) {
    const float range = 2 * std::max(-low, high), inverse = (highest + 1) / range;
    row.scale = range / (highest + 1);
    for (const float value : x) {
      const auto odd = 2 * static_cast<std::int64_t>(std::floor(value * inverse)) + 1;
      row.twice.push_back(std::clamp<std::int64_t>(odd, -(1 << bits) + 1, (1 << bits) - 1));
    }
    return row;
  }
  const float inverse = highest / (high - low);
  row.scale = (high - low) / highest;
  const auto zero = static_cast<std::int64_t>(std::lround(-low * inverse));
  for (const float value : x) {
    const std::int64_t u = static_cast<std::int64_t>(std::nearbyint(value * inverse)) + zero;
    row.twice.push_back(2 * (std::clamp<std::int64_t>(u, 0, (1 << bits) - 1) - zero));
  }
  return row;
}

// Four times the exact product of a group, as float, is what a kernel scales.
float expected(const Weight& w, const Row& row, std::uint64_t o) {
  const std::uint64_t in = row.twice.size();
  float sum = 0;
  for (std::uint64_t g = 0; g < w.groups; ++g) {
    const IntGrid& grid = w.grids[o * w.groups + g];
    std::int64_t exact = 0;
    for (std::uint64_t i = g * w.group; i < std::min(in, (g + 1) * w.group); ++i) {
      exact += row.twice[i] * (2 * w.levels[o * in + i] - static_cast<std::int64_t>(2 * grid.zero));
    }
    sum = std::fma(static_cast<float>(exact), grid.scale * (0.25f * row.scale), sum);
  }
  return sum;
}

class PlanesTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, PlanesTest, testing::ValuesIn(cpu::available_kernels()));

void expect_exact(Device& device, std::string_view codec, const CodecParams& params, std::uint64_t out,
                  std::uint64_t in, std::uint64_t rows) {
  const Weight w = make_weight(codec, params, out, in);
  Floats x = random_floats(rows * in, static_cast<std::uint32_t>(in));
  for (float& value : x) value += 0.3f;
  const Floats got = run_linear(device, w.linear, x, rows);
  for (std::uint64_t r = 0; r < rows; ++r) {
    const Row row = quantized(row_of(x, r, in), params.activation_bits, codec == "BIPOLAR");
    for (std::uint64_t o = 0; o < out; ++o) {
      ASSERT_EQ(got[r * out + o], expected(w, row, o))
          << codec << " " << params.bits << " x " << params.activation_bits << " bits, group " << params.group_size
          << ", [" << out << ", " << in << "], row " << r << ", feature " << o;
    }
  }
}

TEST_P(PlanesTest, EveryPairOfWidthsIsExact) {
  Device device(GetParam());
  for (const std::string_view codec : {"INT_SYM", "INT_ASYM", "BIPOLAR"}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (int activation_bits = 1; activation_bits <= 8; ++activation_bits) {
        const CodecParams whole{.bits = bits, .group_size = 0, .activation_bits = activation_bits};
        for (const std::uint64_t in : {1, 31, 128, 129}) expect_exact(device, codec, whole, 17, in, 1);
        const CodecParams groups{.bits = bits, .group_size = 64, .activation_bits = activation_bits};
        expect_exact(device, codec, groups, 19, 160, 3);
      }
    }
  }
}

// The largest integers over the longest rows that are added as integers, and more; groups no kernel has a layout for.
TEST_P(PlanesTest, LongRowsAndOddGroupsAreExact) {
  Device device(GetParam());
  for (const std::string_view codec : {"INT_ASYM", "BIPOLAR"}) {
    for (const int group : {0, 128, 288, 512, 4096}) {
      expect_exact(device, codec, {.bits = 8, .group_size = group, .activation_bits = 8}, 3, 4096, 2);
      expect_exact(device, codec, {.bits = 2, .group_size = group, .activation_bits = 8}, 17, 4100, 17);
    }
    expect_exact(device, codec, {.bits = 3, .group_size = 24, .activation_bits = 4}, 5, 100, 2);
  }
}

TEST_P(PlanesTest, RowsOfExtremesDoNotOverflow) {
  Device device(GetParam());
  const std::uint64_t in = 20000;
  Weight w = make_weight("INT_ASYM", {.bits = 8, .group_size = 0, .activation_bits = 8}, 2, in);
  std::fill(w.levels.begin(), w.levels.end(), 255);
  for (IntGrid& grid : w.grids) grid = {1, 0};
  w.linear.weight = pack_int_groups("w", *int_group_codec(codec_named("INT_ASYM")), Shape{2, in},
                                    w.linear.weight.params, w.levels, w.grids);
  const Floats got = run_linear(device, w.linear, Floats(in, 2.0f), 1);
  EXPECT_NEAR(got[0], 255.0f * 2 * in, 4);
  EXPECT_EQ(got[0], got[1]);
}

// Five levels are three planes, with kernels or by the reference, and the codec of five levels means the same.
TEST_P(PlanesTest, BalancedWeightsAreIntegersOfOneBitMore) {
  Device device(GetParam());
  for (const int group : {0, 64, 24}) {
    for (const int activation_bits : {0, 3, 8}) {
      const CodecParams params{.bits = 2, .group_size = group, .activation_bits = activation_bits};
      Linear balanced, integers;
      balanced.weight = pack("w", codec_named("BALANCED"), {37, 200}, random_floats(37 * 200, 3), params);
      integers.weight = balanced_as_integers(balanced.weight);
      const Floats x = random_floats(3 * 200, 4);
      EXPECT_EQ(kernel_of(device, balanced).starts_with("integer groups x bit planes"), activation_bits > 0);
      const Floats got = run_linear(device, balanced, x, 3), expected = run_linear(device, integers, x, 3);
      EXPECT_TRUE(same_bits(got, expected)) << group << ", " << activation_bits;
    }
  }
}

TEST_P(PlanesTest, RowsStayApart) {
  expect_rows_stay_apart(GetParam(),
                         make_weight("INT_ASYM", {.bits = 2, .group_size = 64, .activation_bits = 4}, 100, 192).linear);
  expect_rows_stay_apart(GetParam(),
                         make_weight("BIPOLAR", {.bits = 3, .group_size = 0, .activation_bits = 3}, 37, 75).linear);
}

TEST(Planes, InstructionSetsAgree) {
  for (const std::string_view codec : {"INT_SYM", "BIPOLAR"}) {
    for (const int group : {0, 96, 320}) {
      expect_instruction_sets_agree(
          make_weight(codec, {.bits = 3, .group_size = group, .activation_bits = 5}, 45, 700).linear);
    }
  }
}

}  // namespace
}  // namespace lathe::kernels
