// SPQR products against a plain double-precision model of what the kernel computes, at odd sizes, and the promises
// every kernel keeps.
#include "tensor/codecs/spqr.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "base/half.h"
#include "kernels/laid_out.h"

namespace lathe::kernels {
namespace {

struct Case {
  int bits, group;
  std::uint64_t out, in;
  unsigned rarity;  // one weight in so many is an outlier; 0: none
  bool ordered = false;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int bits = 2; bits <= 4; ++bits) {
    for (const int group : {16, 32, 48, 20}) {
      all.push_back({bits, group, 67, 300, 20});
      all.push_back({bits, group, 1, 16, 3});
      all.push_back({bits, group, 35, 300, 20, true});
    }
    all.push_back({bits, 16, 40, 1040, 0});
  }
  all.push_back({3, 16, 16, 4096, 100});
  return all;
}

struct Weight {
  Linear linear;
  SpqrWeights weights;
};

Weight make_weight(const Case& c, unsigned seed) {
  const CodecParams params{c.bits, c.group};
  std::mt19937 random(seed);
  const auto half = [&](float low, float high) {
    return float_from_half(half_from_float(low + (high - low) * static_cast<float>(random() % 1000) / 1000));
  };
  Weight w{{}, SpqrWeights({c.out, c.in}, params)};
  for (auto& level : w.weights.levels) level = static_cast<std::uint8_t>(random() & ((1u << c.bits) - 1));
  for (auto& code : w.weights.scale_codes) code = static_cast<std::uint8_t>(random() % 8);
  for (auto& code : w.weights.zero_codes) code = static_cast<std::uint8_t>(random() % 8);
  const float highest = static_cast<float>((1 << c.bits) - 1);
  for (SpqrTile& t : w.weights.tiles)
    t = {half(0.01f, 0.1f), half(0, 0.02f), half(0, highest / 2), half(0, highest / 14)};
  for (auto& outliers : w.weights.row_outliers) {
    for (std::uint32_t i = 0; i < c.in && c.rarity > 0; ++i) {
      if (random() % c.rarity == 0) outliers.push_back({i, half(-2, 2)});
    }
  }
  if (c.ordered) {
    w.weights.order.resize(c.in);
    std::iota(w.weights.order.begin(), w.weights.order.end(), 0u);
    std::shuffle(w.weights.order.begin(), w.weights.order.end(), random);
  }
  w.linear.weight = pack_spqr("w", {c.out, c.in}, params, w.weights);
  return w;
}

class SpqrKernel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, SpqrKernel, testing::ValuesIn(fast_kernels()));

// Tolerance: a few dozen roundings of floats, relative to the sum of all magnitudes. What an outlier has more than the
// grid at its place is rounded to half precision.
TEST_P(SpqrKernel, MatchesItsModel) {
  Device device(GetParam());
  for (const Case& c : cases()) {
    SCOPED_TRACE(
        fmt::format("{} bits, groups of {}, [{}, {}]{}", c.bits, c.group, c.out, c.in, c.ordered ? ", ordered" : ""));
    const Weight w = make_weight(c, static_cast<unsigned>(c.bits * 100 + c.group));
    const bool fast = kernel_of(device, w.linear).starts_with("spqr x q8");
    EXPECT_EQ(fast, c.group % 16 == 0 && GetParam() != "scalar");
    const auto group = static_cast<std::uint64_t>(c.group), groups = (c.in + group - 1) / group;
    for (const std::uint64_t rows : {1, 3, 9}) {
      Floats x = random_floats(rows * c.in, static_cast<unsigned>(rows + c.in));
      for (float& value : x) value += 0.3f;  // zero points must matter
      const Floats got = run_linear(device, w.linear, x, rows);
      for (std::uint64_t r = 0; r < rows; ++r) {
        Floats row = row_of(x, r, c.in);
        for (std::uint64_t i = 0; i < c.in && c.ordered; ++i) row[i] = x[r * c.in + w.weights.order[i]];
        const std::vector<double> seen = fast ? seen_in_blocks(row) : std::vector<double>(row.begin(), row.end());
        for (std::uint64_t o = 0; o < c.out; ++o) {
          double expected = 0, magnitude = 1e-6;
          const auto grid_at = [&](std::uint64_t i) {
            const std::uint64_t at = o * groups + i / group;
            return w.weights.tiles[o / 16 * groups + i / group].grid(w.weights.scale_codes[at],
                                                                     w.weights.zero_codes[at]);
          };
          for (std::uint64_t i = 0; i < c.in; ++i) {
            const SpqrGrid grid = grid_at(i);
            const double level = w.weights.levels[o * c.in + i];
            expected += grid.scale * (level - grid.zero) * seen[i];
            magnitude += grid.scale * (level + grid.zero) * std::abs(seen[i]);
          }
          for (const SpqrOutlier& outlier : w.weights.row_outliers[o]) {
            const double dense = grid_at(outlier.column).value(w.weights.levels[o * c.in + outlier.column]);
            double more = outlier.value - dense;
            if (fast) more = float_from_half(half_from_float(static_cast<float>(more)));
            expected += more * seen[outlier.column];
            magnitude += std::abs(more * seen[outlier.column]);
          }
          // Where the difference lies between two halves, float and double may take different ones.
          const double tolerance = magnitude * 0x1p-19 + (fast ? 0x1p-10 * 0.01 : 0);
          ASSERT_NEAR(got[r * c.out + o], expected, tolerance) << "row " << r << ", feature " << o;
        }
      }
    }
  }
}

TEST_P(SpqrKernel, RowsThreadsAndPoisonStayApart) {
  expect_rows_stay_apart(GetParam(), make_weight({3, 16, 537, 1280, 50}, 4).linear);
  expect_rows_stay_apart(GetParam(), make_weight({4, 32, 100, 200, 9}, 5).linear);
  expect_rows_stay_apart(GetParam(), make_weight({3, 16, 100, 208, 9, true}, 5).linear);
}

// Linears of one input that are computed together, as query, key and value are: some share an order, some do not, some
// bring a permutation and a scale of their own.
TEST_P(SpqrKernel, OrdersOfOneInputStayApart) {
  Device device(GetParam());
  constexpr std::uint64_t kIn = 96, kRows = 3;
  std::vector<Linear> linears;
  for (const unsigned seed : {1u, 1u, 2u, 3u}) {
    linears.push_back(make_weight({3, 16, 40, kIn, 30, seed < 3}, seed).linear);
  }
  linears.push_back(linears[0]);
  for (std::uint32_t i = 0; i < kIn; ++i) {
    linears.back().input_permutation.push_back((i * 5 + 7) % kIn);
    linears.back().input_scale.push_back(0.5f + 0.01f * static_cast<float>(i));
  }
  const Floats x = random_floats(kRows * kIn, 4);
  std::vector<std::shared_ptr<const PreparedLinear>> prepared;
  std::vector<LinearCall> calls;
  for (const Linear& linear : linears) {
    prepared.push_back(device.backend->prepare(linear));
    calls.push_back({prepared.back().get(), device.zeros(kRows, 40), false});
  }
  device.backend->linear(*device.stream, device.tensor(x, kRows), calls);
  std::vector<Floats> together;
  for (const LinearCall& call : calls) together.push_back(device.read(call.out));
  for (std::size_t i = 0; i < linears.size(); ++i) {
    EXPECT_TRUE(same_bits(together[i], run_linear(device, linears[i], x, kRows))) << i;
  }
  Floats seen(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Linear& last = linears.back();
    seen[i] = x[i / kIn * kIn + last.input_permutation[i % kIn]] * last.input_scale[i % kIn];
  }
  const Floats expected = run_linear(device, linears[0], seen, kRows);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(together.back()[i], expected[i], 1e-5) << i;
}

TEST(SpqrKernels, InstructionSetsAgree) {
  for (const Case& c : cases()) {
    if (c.group % 16 == 0) expect_instruction_sets_agree(make_weight(c, 11).linear);
  }
}

// Rows that begin inside of a tile have no tiles to share: they are decoded, and right.
TEST(SpqrKernels, SlicesOfRowsAreDecoded) {
  Device device("auto");
  for (const bool ordered : {false, true}) {
    const Weight w = make_weight({3, 16, 40, 64, 10, ordered}, 3);
    const Floats x = random_floats(64, 2);
    Linear slice;
    slice.weight = w.linear.weight.rows(5, 30);
    Linear floats;
    floats.weight = pack("w", codec_named("F32"), {25, 64}, slice.weight.to_floats());
    const Floats got = run_linear(device, slice, x, 1), expected = run_linear(device, floats, x, 1);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4);
  }
}

}  // namespace
}  // namespace lathe::kernels
