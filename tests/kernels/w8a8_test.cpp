// W8A8 products: with the shadow on, bit for bit what 64-bit integers give with inputs that nothing limits; with it
// off, what cut-off inputs give; and the promises every kernel keeps.
#include "tensor/codecs/w8a8.h"

#include <random>

#include "base/error.h"
#include "base/log.h"
#include "kernels/cpu/w8a8.h"
#include "kernels/laid_out.h"

namespace lathe::kernels {
namespace {

struct Case {
  std::uint64_t out, in;
};
constexpr Case kCases[] = {{67, 300}, {1, 1}, {16, 4096}, {19, 1000}, {33, 31}, {40, 32}, {5, 513}};

enum class Content { kRandom, kExtreme };

// Random integers, all of them; kExtreme: nothing but -128 and 127.
Linear make_linear(const Case& c, const W8a8Input& input, unsigned seed, Content content = Content::kRandom) {
  std::mt19937 random(seed);
  std::vector<std::int8_t> values(c.out * c.in);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool negative = i / c.in % 2 == 0;
    values[i] = static_cast<std::int8_t>(content == Content::kExtreme ? (negative ? -128 : 127) : random() % 256);
  }
  const float scales[] = {0.0013f, input.scale};
  const auto shadow = static_cast<std::uint8_t>(input.shadow);
  Linear linear;
  linear.weight = packed_parts("blk.0.w", codec_named("W8A8"), {c.out, c.in}, {},
                               {Bytes::copy_of(std::as_bytes(std::span(values)), "test"),
                                Bytes::copy_of(std::as_bytes(std::span(scales)), "test"),
                                Bytes::copy_of(std::as_bytes(std::span(&shadow, 1)), "test")});
  return linear;
}

// A row as integers, straight from the definition.
struct Seen {
  std::vector<std::int64_t> integers;
  float scale = 0;
};
Seen seen_in_row(const Floats& x, const W8a8Input& input) {
  Seen seen;
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  seen.scale = input.scale == 0 ? largest / 127 : input.scale;
  const float inverse = input.scale == 0 ? 127 / largest : 1 / input.scale;
  const float most = input.scale == 0 || !input.shadow ? 127.0f : 4194304.0f;
  for (const float value : x) {
    seen.integers.push_back(static_cast<std::int64_t>(std::clamp(std::nearbyint(value * inverse), -most, most)));
  }
  return seen;
}

float expected_output(std::span<const std::int8_t> weight, float weight_scale, const Seen& x) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) sum += weight[i] * x.integers[i];
  return static_cast<float>(sum) * (weight_scale * x.scale);
}

void expect_exact(Device& device, const Linear& linear, const W8a8Input& input, const Floats& x, std::uint64_t rows) {
  const std::uint64_t out = linear.out_features(), in = linear.in_features();
  const Floats got = run_linear(device, linear, x, rows);
  const float weight_scale = w8a8_scales(linear.weight).weight;
  for (std::uint64_t r = 0; r < rows; ++r) {
    const Seen seen = seen_in_row(row_of(x, r, in), input);
    for (std::uint64_t o = 0; o < out; ++o) {
      ASSERT_EQ(got[r * out + o], expected_output(w8a8_row(linear.weight, o), weight_scale, seen)) << r << ", " << o;
    }
  }
}

// Normal values, and among them outliers of many sizes, up to beyond what is told apart.
Floats with_outliers(std::size_t count, unsigned seed) {
  Floats x = random_floats(count, seed);
  std::mt19937 random(seed);
  for (std::size_t i = random() % 7; i < count; i += 1 + random() % 40) {
    x[i] = std::ldexp(x[i] < 0 ? -1.3f : 1.3f, static_cast<int>(random() % 24));
  }
  return x;
}

class W8a8Kernel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, W8a8Kernel, testing::ValuesIn(cpu::available_kernels()));

TEST_P(W8a8Kernel, IsExact) {
  Device device(GetParam());
  for (const W8a8Input& input : {W8a8Input{0.02f, true}, {0.02f, false}, {3e-6f, true}, {0, false}, {0, true}}) {
    for (const Content content : {Content::kRandom, Content::kExtreme}) {
      for (const Case& c : kCases) {
        const Linear linear = make_linear(c, input, static_cast<unsigned>(c.in), content);
        EXPECT_TRUE(kernel_of(device, linear).starts_with("w8a8 x q8-row"));
        for (const std::uint64_t rows : {1, 2, 3, 9, 23}) {
          SCOPED_TRACE(fmt::format("[{}, {}], {} rows, {} {}", c.out, c.in, rows, input.scale, input.shadow));
          expect_exact(device, linear, input, with_outliers(rows * c.in, static_cast<unsigned>(rows)), rows);
        }
      }
    }
  }
}

// The ends of every bound: integers of 127 and -128 over so many columns that 32 bits would not hold the sum, with
// outliers of the largest size in each column.
TEST_P(W8a8Kernel, SumsHaveRoomForRowsOfAnyLength) {
  const Case c{3, cpu::kW8a8PartColumns + 4000};
  Device device(GetParam());
  for (const W8a8Input& input : {W8a8Input{0.02f, true}, {0.02f, false}}) {
    const Linear linear = make_linear(c, input, 1, Content::kExtreme);
    for (const float value : {1e30f, -1e30f}) expect_exact(device, linear, input, Floats(2 * c.in, value), 2);
  }
}

TEST_P(W8a8Kernel, RowsThreadsAndPoisonStayApart) {
  for (const W8a8Input& input : {W8a8Input{0.02f, true}, {0.02f, false}, {0, false}}) {
    expect_rows_stay_apart(GetParam(), make_linear({537, 1280}, input, 4));
    expect_rows_stay_apart(GetParam(), make_linear({100, 200}, input, 5));
  }
}

TEST(W8a8Kernels, InstructionSetsAgree) {
  for (const Case& c : kCases) expect_instruction_sets_agree(make_linear(c, {0.01f, true}, 11));
}

// Layers of one call share what they can of their input, and no more.
TEST_P(W8a8Kernel, LayersWithOtherScalesSeeTheirOwnInput) {
  Device device(GetParam());
  const Case c{20, 96};
  const W8a8Input inputs[] = {{0.02f, true}, {0.02f, true}, {0.02f, false}, {0.05f, true}, {0, false}};
  const Floats x = with_outliers(4 * c.in, 3);
  std::vector<std::shared_ptr<const PreparedLinear>> weights;
  std::vector<LinearCall> calls;
  std::vector<Floats> alone;
  for (const W8a8Input& input : inputs) {
    const Linear linear = make_linear(c, input, 8);
    alone.push_back(run_linear(device, linear, x, 4));
    weights.push_back(device.backend->prepare(linear));
  }
  for (const auto& weight : weights) calls.push_back({weight.get(), device.zeros(4, c.out), false});
  device.backend->linear(*device.stream, device.tensor(x, 4), calls);
  for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_TRUE(same_bits(device.read(calls[i].out), alone[i])) << i;
}

TEST_P(W8a8Kernel, RefusesDamagedWeights) {
  Device device(GetParam());
  for (const float scale : {NAN, -1.0f, INFINITY}) {
    try {
      run_linear(device, make_linear({20, 64}, {scale, true}, 8), random_floats(64, 1), 1);
      FAIL() << "computed";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("blk.0.w"), std::string::npos) << error.what();
    }
  }
}

// What a static scale loses on a text is told.
TEST_P(W8a8Kernel, CountsWhatLiesBeyondTheRange) {
  const LogLevel before = log_level();
  set_log_level(LogLevel::kDebug);
  testing::internal::CaptureStderr();
  {
    Device device(GetParam());
    Floats x(2 * 64, 0.5f);
    x[3] = x[70] = x[127] = -9;
    run_linear(device, make_linear({8, 64}, {0.01f, true}, 1), x, 2);
    run_linear(device, make_linear({8, 64}, {0.01f, false}, 1), row_of(x, 0, 64), 1);
  }
  const std::string said = testing::internal::GetCapturedStderr();
  set_log_level(before);
  EXPECT_NE(said.find("with a shadow: 2 rows, 3 of 128 values"), std::string::npos) << said;
  EXPECT_NE(said.find("without a shadow: 1 rows, 1 of 64 values cut off"), std::string::npos) << said;
}

// --- activations ---

TEST_P(W8a8Kernel, ActivationsAreTheReferences) {
  const cpu::QuantizeKernels& kernels = *cpu::select_kernels(GetParam()).quantize;
  constexpr std::size_t kColumns = 320, kBlocks = kColumns / cpu::kQ8Block;
  constexpr float kScale = 0.05f;
  struct Result {
    std::vector<std::int8_t> values = std::vector<std::int8_t>(kColumns);
    std::vector<std::int32_t> sums = std::vector<std::int32_t>(kBlocks + 1);
    std::vector<cpu::Q8Outlier> outliers = std::vector<cpu::Q8Outlier>(kColumns);
    std::uint32_t beyond = 77;
    float scale = 0;
  };
  for (const int kind : {0, 1, 2, 3, 4}) {
    Floats x = random_floats(kColumns, 7);
    if (kind == 1) std::fill(x.begin(), x.end(), -1e38f);
    if (kind == 2) x[100] = NAN;
    if (kind == 3) x[300] = -INFINITY;
    if (kind == 4) x = with_outliers(kColumns, 4);
    Result got, want;
    got.scale = kernels.q8_fixed(x.data(), kColumns, kScale, got.values.data(), got.sums.data(), got.outliers.data(),
                                 &got.beyond);
    want.scale = cpu::kReferenceQuantize.q8_fixed(x.data(), kColumns, kScale, want.values.data(), want.sums.data(),
                                                  want.outliers.data(), &want.beyond);
    EXPECT_EQ(std::isnan(got.scale), kind == 2 || kind == 3);
    EXPECT_EQ(std::isnan(want.scale), std::isnan(got.scale));
    if (!std::isnan(want.scale)) {
      EXPECT_EQ(got.scale, kScale);
    }
    EXPECT_EQ(got.values, want.values) << kind;
    EXPECT_EQ(got.sums, want.sums) << kind;
    ASSERT_EQ(got.beyond, want.beyond) << kind;
    EXPECT_EQ(got.beyond == 0, kind == 0 || kind == 2 || kind == 3);
    for (std::size_t i = 0; i < want.beyond; ++i) {
      EXPECT_EQ(got.outliers[i].column, want.outliers[i].column);
      EXPECT_EQ(got.outliers[i].rest, want.outliers[i].rest);
    }
    // What is kept and what is cut off add up to the rounded value: nothing is lost, nothing counts twice.
    std::vector<std::int64_t> sum(want.values.begin(), want.values.end());
    for (std::size_t i = 0; i < want.beyond; ++i) sum[want.outliers[i].column] += want.outliers[i].rest;
    if (!std::isnan(want.scale)) {
      EXPECT_EQ(sum, seen_in_row(x, {kScale, true}).integers) << kind;
    }
  }
}

}  // namespace
}  // namespace lathe::kernels
