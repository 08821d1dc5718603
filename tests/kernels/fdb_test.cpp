// FDB products against a plain double-precision model, at odd sizes, and the promises every kernel keeps.
#include "tensor/codecs/fdb.h"
#include "tensor/codecs/int_group.h"

#include <random>

#include "base/half.h"
#include "kernels/laid_out.h"

namespace lathe::kernels {
namespace {

struct Case {
  int group;
  std::uint64_t out, in;
};

std::vector<Case> cases() {
  return {{0, 67, 300}, {0, 5, 13}, {32, 67, 300}, {64, 17, 192}, {64, 1, 8}, {128, 16, 4096}, {24, 19, 96}};
}

Linear make_linear(const Case& c, unsigned seed) {
  std::mt19937 random(seed);
  const CodecParams params{2, c.group};
  std::vector<std::uint8_t> codes(c.out * c.in);
  for (auto& code : codes) code = random() % 4;
  std::vector<FdbGrid> grids(c.out * int_groups(params, c.in));
  const auto half = [&] { return float_from_half(half_from_float(0.001f * static_cast<float>(random() % 2000) - 1)); };
  for (FdbGrid& grid : grids) grid.first = half(), grid.second = half();
  Linear linear;
  linear.weight = pack_fdb("w", {c.out, c.in}, params, codes, grids);
  return linear;
}

class FdbKernel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, FdbKernel, testing::ValuesIn(fast_kernels()));

// Tolerance: a few dozen roundings of floats, relative to the sum of all magnitudes; of terms that may
// cancel, since the two planes of a weight are added apart.
TEST_P(FdbKernel, MatchesItsModel) {
  Device device(GetParam());
  for (const Case& c : cases()) {
    SCOPED_TRACE(fmt::format("groups of {}, [{}, {}]", c.group, c.out, c.in));
    const Linear linear = make_linear(c, static_cast<unsigned>(c.group + 1));
    const bool fast = kernel_of(device, linear).starts_with("fdb x q8");
    EXPECT_EQ(fast, c.group % 32 == 0 && GetParam() != "scalar");
    for (const std::uint64_t rows : {1, 3, 6}) {
      const Floats x = random_floats(rows * c.in, static_cast<unsigned>(rows + c.in));
      expect_decoded_products(device, linear, fast, x, rows, 0x1p-17);
    }
  }
}

TEST_P(FdbKernel, RowsThreadsAndPoisonStayApart) {
  expect_rows_stay_apart(GetParam(), make_linear({128, 537, 1280}, 4));
  expect_rows_stay_apart(GetParam(), make_linear({0, 100, 200}, 5));
}

TEST(FdbKernels, InstructionSetsAgree) {
  for (const Case& c : cases()) {
    if (c.group % 32 == 0) expect_instruction_sets_agree(make_linear(c, 11));
  }
}

}  // namespace
}  // namespace lathe::kernels
