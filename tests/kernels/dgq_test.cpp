// DGQ products: bit for bit what 64-bit integers give, at odd sizes and at the ends of 8 bits, and the promises every
// kernel keeps; and the rows of 8-bit activations they read.
#include "tensor/codecs/dgq.h"

#include <random>

#include "base/error.h"
#include "kernels/cpu/dgq.h"
#include "kernels/laid_out.h"

namespace lathe::kernels {
namespace {

struct Case {
  int group;
  std::uint64_t out, in;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int group : {32, 64, 128, 320, 24}) {
    all.push_back({group, 67, 300});
    all.push_back({group, 1, 8});
  }
  all.push_back({128, 16, 4096});
  all.push_back({96, 19, 1000});
  return all;
}

// Random codes, zero points and scales; with `extreme` nothing but 127 and -127.
Linear make_linear(const Case& c, unsigned seed, bool extreme = false) {
  std::mt19937 random(seed);
  std::vector<DgqRow> rows(c.out);
  for (DgqRow& row : rows) {
    row.factor = 0.001f + 0.00001f * static_cast<float>(random() % 99);
    const bool negative = random() % 2;
    for (std::uint64_t i = 0; i < c.in; ++i) {
      if (i % static_cast<std::uint64_t>(c.group) == 0) {
        row.scales.push_back(static_cast<std::uint8_t>(extreme ? 127 : 1 + random() % 127));
        row.zeros.push_back(static_cast<std::uint8_t>(extreme ? 14 - 13 * (random() % 2) : random() % 16));
      }
      const int zero = row.zeros.back(), scale = row.scales.back();
      int code = extreme ? zero + (negative ? -1 : 1) : static_cast<int>(random() % 16);
      while (std::abs(scale * (code - zero)) > 127) code += code < zero ? 1 : -1;
      row.codes.push_back(static_cast<std::uint8_t>(code));
    }
  }
  Linear linear;
  linear.weight = pack_dgq_rows("w", {c.out, c.in}, {4, c.group}, rows);
  return linear;
}

// A row as 8-bit integers with one scale, straight from the definition.
struct Seen {
  std::vector<int> integers;
  float scale = 0;
};
Seen seen_in_row(const Floats& x) {
  Seen seen;
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  seen.scale = largest / 127;
  for (const float value : x) seen.integers.push_back(static_cast<int>(std::nearbyint(value * (127 / largest))));
  return seen;
}

// Exact sums in parts as long as the kernel's, and the same three operations on floats as it.
float expected_output(const DgqRow& weight, const Seen& x, int group) {
  float total = 0;
  for (std::size_t part = 0; part < x.integers.size(); part += cpu::kDgqPartColumns) {
    std::int64_t sum = 0;
    for (std::size_t i = part; i < std::min(x.integers.size(), part + cpu::kDgqPartColumns); ++i) {
      const std::size_t g = i / static_cast<std::size_t>(group);
      sum += std::int64_t{weight.scales[g]} * (weight.codes[i] - weight.zeros[g]) * x.integers[i];
    }
    EXPECT_LT(std::abs(sum), std::int64_t{1} << 31);
    total += static_cast<float>(sum);
  }
  return total * (weight.factor * x.scale);
}

class DgqKernel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, DgqKernel, testing::ValuesIn(fast_kernels()));

TEST_P(DgqKernel, IsExact) {
  Device device(GetParam());
  for (const bool extreme : {false, true}) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(fmt::format("groups of {}, [{}, {}], {}", c.group, c.out, c.in, extreme));
      const Linear linear = make_linear(c, static_cast<unsigned>(c.group), extreme);
      const bool fast = kernel_of(device, linear).starts_with("dgq x q8-row");
      EXPECT_EQ(fast, c.group % 32 == 0 && GetParam() != "scalar");
      const std::vector<float> weight = linear.weight.to_floats();  // held to the layout by tests/tensor
      for (const std::uint64_t rows : {1, 2, 3, 9}) {
        Floats x = random_floats(rows * c.in, static_cast<unsigned>(rows + c.in));
        if (extreme) {
          for (std::size_t i = 0; i < x.size(); ++i) x[i] = rows % 2 == 0 && i % 2 == 0 ? 2.0f : -2.0f;
        }
        const Floats got = run_linear(device, linear, x, rows);
        for (std::uint64_t r = 0; r < rows; ++r) {
          const Floats row = row_of(x, r, c.in);
          const Seen seen = seen_in_row(row);
          for (std::uint64_t o = 0; o < c.out; ++o) {
            if (fast) {
              ASSERT_EQ(got[r * c.out + o], expected_output(dgq_row(linear.weight, o), seen, c.group))
                  << r << ", " << o;
              continue;
            }
            double expected = 0, magnitude = 1e-6;
            for (std::uint64_t i = 0; i < c.in; ++i) {
              expected += double{weight[o * c.in + i]} * row[i];
              magnitude += std::abs(double{weight[o * c.in + i]} * row[i]);
            }
            ASSERT_NEAR(got[r * c.out + o], expected, magnitude * 0x1p-18) << r << ", " << o;
          }
        }
      }
    }
  }
}

// Without parts, the sum of 127 * 127 over these columns would not fit into 32 bits.
TEST_P(DgqKernel, AddsUpRowsOfAnyLength) {
  const Case c{128, 3, cpu::kDgqPartColumns + 4000};
  Device device(GetParam());
  const Linear linear = make_linear(c, 3, true);
  if (!kernel_of(device, linear).starts_with("dgq")) return;
  for (const std::uint64_t rows : {1, 2}) {
    const Floats x(rows * c.in, 2.0f), got = run_linear(device, linear, x, rows);
    const Seen seen = seen_in_row(row_of(x, 0, c.in));
    for (std::uint64_t o = 0; o < rows * c.out; ++o) {
      const float expected = expected_output(dgq_row(linear.weight, o % c.out), seen, c.group);
      EXPECT_EQ(got[o], expected);
      EXPECT_GT(std::abs(expected / (dgq_row(linear.weight, o % c.out).factor * seen.scale)), 2147483648.0f);
    }
  }
}

TEST_P(DgqKernel, RowsThreadsAndPoisonStayApart) {
  expect_rows_stay_apart(GetParam(), make_linear({128, 537, 1280}, 4));
  expect_rows_stay_apart(GetParam(), make_linear({32, 100, 200}, 5));
}

TEST(DgqKernels, InstructionSetsAgree) {
  for (const Case& c : cases()) {
    if (c.group % 32 == 0) expect_instruction_sets_agree(make_linear(c, 11));
  }
}

// The error comes when the layer is prepared, with the tensor's name, whatever the kernel.
TEST_P(DgqKernel, RefusesDamagedWeights) {
  Device device(GetParam());
  Linear linear = make_linear({32, 20, 64}, 8);
  std::vector<Bytes> parts;
  for (const Part& part : linear.weight.parts) {
    std::vector<std::byte> bytes(part.data.span().begin(), part.data.span().end());
    if (part.spec.name == "zeros") bytes[31] = std::byte{200};
    parts.push_back(Bytes::copy_of(bytes, "file"));
  }
  linear.weight = packed_parts("blk.0.w", codec_named("DGQ"), {20, 64}, {4, 32}, parts);
  try {
    run_linear(device, linear, random_floats(64, 1), 1);
    FAIL() << "computed";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blk.0.w"), std::string::npos) << error.what();
  }
}

// --- activations ---

TEST_P(DgqKernel, RowsOfActivationsAreTheReferences) {
  const cpu::QuantizeKernels& kernels = *cpu::select_kernels(GetParam()).quantize;
  constexpr std::size_t kColumns = 320, kBlocks = kColumns / cpu::kQ8Block;
  for (const int kind : {0, 1, 2, 3, 4, 5}) {
    Floats x = random_floats(kColumns, 7);
    if (kind == 1) std::fill(x.begin(), x.end(), 0.0f);
    if (kind == 2) std::fill(x.begin(), x.end(), 1e-33f);
    if (kind == 3) x[100] = NAN;
    if (kind == 4) x[300] = -INFINITY;
    if (kind == 5) x[200] = -1000;
    std::vector<std::int8_t> values(kColumns), reference(kColumns);
    std::vector<std::int32_t> sums(kBlocks + 1), reference_sums(kBlocks + 1);
    const float scale = kernels.q8_row(x.data(), kColumns, values.data(), sums.data());
    const float expected = cpu::kReferenceQuantize.q8_row(x.data(), kColumns, reference.data(), reference_sums.data());
    EXPECT_TRUE(same_bits({scale}, {expected}) || (std::isnan(scale) && std::isnan(expected))) << kind;
    EXPECT_EQ(std::isnan(expected), kind == 3 || kind == 4);
    EXPECT_EQ(values, reference) << kind;
    EXPECT_EQ(sums, reference_sums) << kind;
    if (kind == 0 || kind == 5) {
      const Seen seen = seen_in_row(x);
      EXPECT_EQ(expected, seen.scale);
      EXPECT_EQ(std::vector<int>(reference.begin(), reference.end()), seen.integers);
    } else {
      EXPECT_EQ(reference, std::vector<std::int8_t>(kColumns)) << kind;
    }
    for (std::size_t b = 0; b <= kBlocks; ++b) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < b * cpu::kQ8Block; ++i) sum += reference[i];
      EXPECT_EQ(reference_sums[b], sum);
    }
  }
}

}  // namespace
}  // namespace lathe::kernels
