// SLIM products against a plain double-precision model, at odd sizes, and the promises every kernel keeps.
#include "tensor/codecs/slim.h"

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
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int bits = kSlimLeastBits; bits <= kSlimMostBits; ++bits) {
    for (const int group : {32, 64, 24}) {
      all.push_back({bits, group, 67, 300});
      all.push_back({bits, group, 1, 8});
    }
    all.push_back({bits, 128, 16, 2048});
  }
  return all;
}

// Random levels and grids; of the whole blocks half are narrow and half are wide. The largest levels where `extreme`.
Linear make_linear(const Case& c, unsigned seed, bool extreme = false) {
  const CodecParams params{c.bits, c.group};
  std::mt19937 random(seed);
  std::vector<std::size_t> order(slim_whole_blocks(params, c.in));
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  const std::vector<std::uint8_t> widths = slim_width_map(params, c.in, order, order.size() / 3);
  std::vector<std::uint8_t> levels;
  std::vector<IntGrid> grids;
  for (std::uint64_t o = 0; o < c.out; ++o) {
    for (std::uint64_t i = 0; i < c.in; ++i) {
      const unsigned highest = (1u << widths[i / static_cast<std::uint64_t>(c.group)]) - 1;
      levels.push_back(static_cast<std::uint8_t>(extreme ? highest : random() & highest));
    }
    for (const std::uint8_t width : widths) {
      grids.push_back({float_from_half(half_from_float(0.01f + 0.001f * static_cast<float>(random() % 99))),
                       static_cast<float>(random() % 256) * slim_zero_unit(width)});
    }
  }
  Linear linear;
  linear.weight = pack_slim("w", {c.out, c.in}, params, widths, levels, grids);
  return linear;
}

class SlimKernel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, SlimKernel, testing::ValuesIn(fast_kernels()));

// Tolerance: a few dozen roundings of floats, relative to the sum of all magnitudes.
TEST_P(SlimKernel, MatchesItsModel) {
  Device device(GetParam());
  for (const bool extreme : {false, true}) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(fmt::format("{} bits, blocks of {}, [{}, {}]", c.bits, c.group, c.out, c.in));
      const Linear linear = make_linear(c, static_cast<unsigned>(c.bits * 100 + c.group), extreme);
      const bool fast = kernel_of(device, linear).starts_with("slim x q8");
      EXPECT_EQ(fast, c.group % 32 == 0 && GetParam() != "scalar");
      for (const std::uint64_t rows : {1, 3, 9}) {
        Floats x = random_floats(rows * c.in, static_cast<unsigned>(rows + c.in));
        for (float& value : x) value += 0.3f;                 // zero points must matter
        if (extreme) std::fill(x.begin(), x.end(), -127.0f);  // sums of the largest products
        expect_decoded_products(device, linear, fast, x, rows, 0x1p-18);
      }
    }
  }
}

TEST_P(SlimKernel, RowsThreadsAndPoisonStayApart) {
  expect_rows_stay_apart(GetParam(), make_linear({2, 128, 537, 1280}, 4));
  expect_rows_stay_apart(GetParam(), make_linear({6, 32, 100, 200}, 5));
}

TEST(SlimKernels, InstructionSetsAgree) {
  for (const Case& c : cases()) {
    if (c.group % 32 == 0) expect_instruction_sets_agree(make_linear(c, 11));
  }
}

// What the kernel holds is what the widths say, and nothing else.
TEST(SlimKernels, KeepsOnlyItsOwnLayout) {
  Device device("auto");
  const Linear linear = make_linear({2, 128, 64, 2048}, 1);
  const auto prepared = device.backend->prepare(linear);
  if (!prepared->kernel().starts_with("slim x q8")) GTEST_SKIP() << "no kernel for this machine";
  EXPECT_EQ(prepared->bytes(), linear.weight.bytes());
}

}  // namespace
}  // namespace lathe::kernels
