// BITMOD products against a plain double-precision model, at odd sizes, and the promises every kernel keeps.
#include "tensor/codecs/bitmod.h"

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
  for (const int bits : {3, 4}) {
    for (const int group : {32, 64, 128, 24}) {
      all.push_back({bits, group, 67, 300});
      all.push_back({bits, group, 1, 8});
    }
    all.push_back({bits, 128, 16, 4096});
  }
  return all;
}

// Random codes, types and scales; all extremes where `extreme`.
Linear make_linear(const Case& c, unsigned seed, bool extreme = false) {
  std::mt19937 random(seed);
  std::vector<BitmodRow> rows(c.out);
  for (BitmodRow& row : rows) {
    row.factor = float_from_half(half_from_float(0.001f + 0.00001f * static_cast<float>(random() % 99)));
    for (std::uint64_t i = 0; i < c.in; ++i) {
      row.codes.push_back(static_cast<std::uint8_t>(extreme ? 1 << (c.bits - 1) : random() & ((1u << c.bits) - 1)));
    }
    for (std::uint64_t i = 0; i < c.in; i += static_cast<std::uint64_t>(c.group)) {
      row.types.push_back(static_cast<std::uint8_t>(extreme ? 2 + random() % 2 : random() % 4));
      row.scales.push_back(static_cast<std::uint8_t>(random() % 128));
    }
  }
  Linear linear;
  linear.weight = pack_bitmod_rows("w", {c.out, c.in}, {c.bits, c.group}, rows);
  return linear;
}

class BitmodKernel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, BitmodKernel, testing::ValuesIn(fast_kernels()));

// Tolerance: a few dozen roundings of floats, relative to the sum of all magnitudes.
TEST_P(BitmodKernel, MatchesItsModel) {
  Device device(GetParam());
  for (const bool extreme : {false, true}) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(fmt::format("{} bits, groups of {}, [{}, {}]", c.bits, c.group, c.out, c.in));
      const Linear linear = make_linear(c, static_cast<unsigned>(c.bits * 100 + c.group), extreme);
      const bool fast = kernel_of(device, linear).starts_with("bitmod x q8");
      EXPECT_EQ(fast, c.group % 32 == 0 && GetParam() != "scalar");
      for (const std::uint64_t rows : {1, 3, 6}) {
        Floats x = random_floats(rows * c.in, static_cast<unsigned>(rows + c.in));
        if (extreme) std::fill(x.begin(), x.end(), -127.0f);  // sums of the largest products
        expect_decoded_products(device, linear, fast, x, rows, 0x1p-19);
      }
    }
  }
}

TEST_P(BitmodKernel, RowsThreadsAndPoisonStayApart) {
  expect_rows_stay_apart(GetParam(), make_linear({3, 128, 537, 1280}, 4));
  expect_rows_stay_apart(GetParam(), make_linear({4, 32, 100, 200}, 5));
}

TEST(BitmodKernels, InstructionSetsAgree) {
  for (const Case& c : cases()) {
    if (c.group % 32 == 0) expect_instruction_sets_agree(make_linear(c, 11));
  }
}

}  // namespace
}  // namespace lathe::kernels
