// Linear layers: every codec's kernel against the decoded weights in double precision, at odd sizes, and the promise
// that a row's result depends on nothing but the row.
#include <cmath>
#include <thread>

#include "base/error.h"
#include "kernels/cpu/reference.h"
#include "kernels/device.h"

namespace lathe::kernels {
namespace {

// A codec and input widths it can have.
struct Case {
  std::string_view codec;
  std::vector<std::uint64_t> widths;
};
const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {"F32", {1, 7, 32, 96, 172, 192, 1029}},
      {"F16", {1, 7, 32, 96, 172, 192, 1029}},
      {"BF16", {1, 7, 32, 96, 172, 192, 1029}},
      {"Q8_0", {32, 96, 192, 256, 1312}},
      {"Q4_0", {32, 96, 192, 256, 1312}},
      {"Q4_1", {32, 96, 192, 1312}},
      {"Q5_0", {32, 96, 192, 1312}},
      {"Q5_1", {32, 96, 192, 1312}},
      {"Q2_K", {256, 512, 1280}},
      {"Q3_K", {256, 512, 1280}},
      {"Q4_K", {256, 512, 1280}},
      {"Q5_K", {256, 512, 1280}},
      {"Q6_K", {256, 512, 1280}},
      {"IQ4_NL", {32, 96, 1312}},
      {"IQ4_XS", {256, 1280}},
      {"TQ2_0", {256, 512, 1280}},
      {"MXFP4", {32, 96, 1312}},
  };
  return kCases;
}

Floats run(Device& device, const Linear& linear, const Floats& x, std::uint64_t rows, bool accumulate = false,
           const Floats& before = {}) {
  const auto weight = device.backend->prepare(linear);
  const LinearCall call{
      weight.get(), accumulate ? device.tensor(before, rows) : device.zeros(rows, linear.out_features()), accumulate};
  device.backend->linear(*device.stream, device.tensor(x, rows), std::span(&call, 1));
  return device.read(call.out);
}

// Holds `got` against weight * x in double precision, x as the kernel saw it. The tolerance is relative to the sum of
// the magnitudes of all products: 2^-20 is a few dozen roundings of floats.
void expect_product(const Linear& linear, const Floats& x, std::uint64_t rows, const Floats& got, bool eight_bits) {
  const std::uint64_t in = linear.in_features(), out = linear.out_features();
  const Floats weights = linear.weight.to_floats();
  std::vector<double> seen(x.begin(), x.end());
  if (eight_bits) {
    std::vector<std::int8_t> values(in);
    std::vector<cpu::Q8Meta> meta(in / cpu::kQ8Block);
    for (std::uint64_t r = 0; r < rows; ++r) {
      cpu::kReferenceQuantize.q8(x.data() + r * in, in, values.data(), meta.data());
      for (std::uint64_t i = 0; i < in; ++i) seen[r * in + i] = double{meta[i / 32].scale} * values[i];
    }
  }
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t o = 0; o < out; ++o) {
      double sum = linear.bias.empty() ? 0 : linear.bias[o], magnitude = std::abs(sum);
      for (std::uint64_t i = 0; i < in; ++i) {
        const double product = weights[o * in + i] * seen[r * in + i];
        sum += product, magnitude += std::abs(product);
      }
      ASSERT_NEAR(got[r * out + o], sum, (magnitude + 1e-6) * 0x1p-20)
          << linear.weight.codec->name() << " [" << out << ", " << in << "], row " << r << ", feature " << o;
    }
  }
}

class MatmulTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, MatmulTest, testing::ValuesIn(cpu::available_kernels()),
                         [](const auto& info) { return info.param; });

TEST_P(MatmulTest, EveryCodecMatchesDecodedWeights) {
  Device device(GetParam());
  for (const Case& c : cases()) {
    for (const std::uint64_t in : c.widths) {
      for (const std::uint64_t out : {1, 2, 5, 15, 16, 17, 35}) {
        const Linear linear{random_blocks(c.codec, out, in, static_cast<std::uint32_t>(in + out)), {}, {}, {}};
        const auto weight = device.backend->prepare(linear);
        const bool eight_bits = weight->kernel().find("x q8") != std::string_view::npos;
        for (const std::uint64_t rows : {1, 3}) {
          const Floats x = random_floats(rows * in, static_cast<std::uint32_t>(rows * 7 + in));
          expect_product(linear, x, rows, run(device, linear, x, rows), eight_bits);
        }
        device.buffers.clear();
      }
    }
  }
}

TEST_P(MatmulTest, RowsDoNotDependOnEachOther) {
  Device device(GetParam());
  for (const Case& c : cases()) {
    const std::uint64_t in = c.widths.back(), out = 37, most = 17;
    const Linear linear{random_blocks(c.codec, out, in, 5), {}, {}, random_floats(out, 6)};
    const Floats x = random_floats(most * in, 7);
    const Floats all = run(device, linear, x, most);
    for (std::uint64_t rows = 1; rows < most; ++rows) {
      const Floats some =
          run(device, linear, Floats(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(rows * in)), rows);
      ASSERT_TRUE(same_bits(some, Floats(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rows * out))))
          << c.codec << ", " << rows << " rows";
    }
    device.buffers.clear();
  }
}

// Kernels take as many rows at a time as a cache holds: of these widths at most 532, with AMX.
TEST_P(MatmulTest, RowsBeyondWhatACacheHoldsAreLikeTheOthers) {
  Device device(GetParam());
  for (const Case& c : cases()) {
    const std::uint64_t in = c.widths.back(), out = 19, rows = 550, some = 50;
    const Linear linear{random_blocks(c.codec, out, in, 11), {}, {}, {}};
    const Floats x = random_floats(rows * in, 12);
    const Floats all = run(device, linear, x, rows);
    for (std::uint64_t first = 0; first < rows; first += some) {
      const auto part = [&](const Floats& values, std::uint64_t columns) {
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first * columns);
        return Floats(begin, begin + static_cast<std::ptrdiff_t>(some * columns));
      };
      ASSERT_TRUE(same_bits(run(device, linear, part(x, in), some), part(all, out))) << c.codec << ", row " << first;
    }
    device.buffers.clear();
  }
}

TEST_P(MatmulTest, ThreadsDoNotChangeResults) {
  Device one(GetParam(), 1), two(GetParam(), 2), five(GetParam(), 5);
  for (const Case& c : cases()) {
    const std::uint64_t in = c.widths.back(), out = 531, rows = 6;
    const Linear linear{random_blocks(c.codec, out, in, 8), {}, {}, {}};
    const Floats x = random_floats(rows * in, 9);
    const Floats expected = run(one, linear, x, rows);
    EXPECT_TRUE(same_bits(expected, run(two, linear, x, rows))) << c.codec;
    EXPECT_TRUE(same_bits(expected, run(five, linear, x, rows))) << c.codec;
  }
}

TEST_P(MatmulTest, GroupsGiveWhatSingleCallsGive) {
  Device device(GetParam());
  const std::uint64_t in = 256, rows = 3;
  const std::string_view codecs[] = {"Q8_0", "Q4_0", "F16", "Q8_0", "F32"};
  const std::uint64_t outs[] = {40, 8, 24, 1, 16};
  const Floats x = random_floats(rows * in, 3);
  std::vector<std::shared_ptr<const PreparedLinear>> weights;
  std::vector<Linear> linears;
  std::vector<LinearCall> calls;
  for (int i = 0; i < 5; ++i) {
    linears.push_back({random_blocks(codecs[i], outs[i], in, static_cast<std::uint32_t>(i)), {}, {}, {}});
    weights.push_back(device.backend->prepare(linears.back()));
    calls.push_back({weights.back().get(), device.zeros(rows, outs[i]), false});
  }
  device.backend->linear(*device.stream, device.tensor(x, rows, in + 5), calls);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(same_bits(device.read(calls[i].out), run(device, linears[i], x, rows))) << i;
  }
}

TEST_P(MatmulTest, PermutationScaleBiasAndAccumulate) {
  Device device(GetParam());
  for (const std::string_view codec : {"F32", "Q8_0", "Q4_0"}) {
    const std::uint64_t in = 96, out = 19, rows = 5;
    Linear linear{random_blocks(codec, out, in, 1), {}, random_floats(in, 2), random_floats(out, 3)};
    for (std::uint32_t i = 0; i < in; ++i) linear.input_permutation.push_back((i * 29 + 7) % in);
    const Floats x = random_floats(rows * in, 4), before = random_floats(rows * out, 5);
    Floats seen(x.size());
    for (std::uint64_t r = 0; r < rows; ++r) {
      for (std::uint64_t i = 0; i < in; ++i) {
        seen[r * in + i] = x[r * in + linear.input_permutation[i]] * linear.input_scale[i];
      }
    }
    const Floats plain = run(device, linear, x, rows), added = run(device, linear, x, rows, true, before);
    expect_product(linear, seen, rows, plain, GetParam() != "scalar" && codec != "F32");
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(added[i], plain[i] + before[i], 1e-5);
  }
}

TEST_P(MatmulTest, NanAndInfinityStayInTheirRow) {
  Device device(GetParam());
  for (const std::string_view codec : {"F32", "F16", "Q8_0", "Q4_0"}) {
    const std::uint64_t in = 64, out = 18;
    const Linear linear{random_blocks(codec, out, in, 1), {}, {}, {}};
    for (const float poison : {NAN, INFINITY}) {
      Floats x = random_floats(5 * in, 2);
      x[2 * in + 40] = poison;
      const Floats got = run(device, linear, x, 5);
      for (std::uint64_t o = 0; o < out; ++o) {
        EXPECT_FALSE(std::isfinite(got[2 * out + o])) << codec;
        for (const std::uint64_t row : {0, 1, 3, 4}) EXPECT_TRUE(std::isfinite(got[row * out + o])) << codec;
      }
    }
  }
}

TEST_P(MatmulTest, LowRankTouchesOnlyItsRows) {
  Device device(GetParam());
  const std::uint64_t in = 70, out = 33, rank = 5, rows = 6;
  const Linear a{random_blocks("F32", rank, in, 1), {}, {}, {}}, b{random_blocks("F16", out, rank, 2), {}, {}, {}};
  const Floats x = random_floats(rows * in, 3), before = random_floats(rows * out, 4);
  const auto pa = device.backend->prepare(a), pb = device.backend->prepare(b);
  const DeviceTensor target = device.tensor(before, rows, out + 3);
  const std::vector<std::uint32_t> chosen = {1, 4};
  device.backend->low_rank(*device.stream, target, device.tensor(x, rows), *pa, *pb, 0.5f, chosen);
  const Floats got = device.read(target), fa = a.weight.to_floats(), fb = b.weight.to_floats();
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t o = 0; o < out; ++o) {
      double expected = before[r * out + o];
      if (r == 1 || r == 4) {
        for (std::uint64_t k = 0; k < rank; ++k) {
          double mid = 0;
          for (std::uint64_t i = 0; i < in; ++i) mid += double{fa[k * in + i]} * x[r * in + i];
          expected += 0.5 * fb[o * rank + k] * mid;
        }
      }
      EXPECT_NEAR(got[r * out + o], expected, r == 1 || r == 4 ? 1e-4 : 0) << r << ", " << o;
    }
  }
}

// Streams of different threads share the backend's pool and weights, and nothing else.
TEST_P(MatmulTest, StreamsOfTwoThreadsDoNotMix) {
  Device device(GetParam());
  const std::uint64_t in = 256, out = 100, rows = 3;
  const Linear linear{random_blocks("Q4_0", out, in, 1), {}, {}, {}};
  const auto weight = device.backend->prepare(linear);
  const Floats inputs[2] = {random_floats(rows * in, 2), random_floats(rows * in, 3)};
  const Floats expected[2] = {run(device, linear, inputs[0], rows), run(device, linear, inputs[1], rows)};
  const DeviceTensor x[2] = {device.tensor(inputs[0], rows), device.tensor(inputs[1], rows)};
  const DeviceTensor y[2] = {device.zeros(rows, out), device.zeros(rows, out)};
  bool right[2] = {true, true};
  const auto work = [&](int which) {
    const auto stream = device.backend->make_stream();
    const LinearCall call{weight.get(), y[which], false};
    for (int i = 0; i < 50; ++i) {
      device.backend->linear(*stream, x[which], std::span(&call, 1));
      Floats got(rows * out);
      device.backend->download(*stream, got.data(), y[which].data, got.size() * sizeof(float));
      right[which] = right[which] && same_bits(got, expected[which]);
    }
  };
  std::thread other([&] { work(1); });
  work(0);
  other.join();
  EXPECT_TRUE(right[0]);
  EXPECT_TRUE(right[1]);
}

// Integer dot products are exact and the rest is done lane by lane, so vectors of any width give the same bytes.
TEST(Matmul, InstructionSetsAgree) {
  const std::vector<std::string> kernels = fast_kernels();
  for (const Case& c : cases()) {
    const std::uint64_t in = c.widths.back(), out = 53, rows = 19;
    const Linear linear{random_blocks(c.codec, out, in, 1), {}, {}, random_floats(out, 2)};
    const Floats x = random_floats(rows * in, 3);
    Device first(kernels.front());
    const Floats expected = run(first, linear, x, rows);
    for (const std::string& other : kernels) {
      Device device(other);
      EXPECT_TRUE(same_bits(expected, run(device, linear, x, rows))) << c.codec << ", " << other;
    }
  }
}

TEST(Matmul, RejectsShapesThatDoNotFit) {
  Device device("auto");
  const Linear linear{random_blocks("F32", 4, 8, 1), {}, {}, {}};
  const auto weight = device.backend->prepare(linear);
  const LinearCall wide{weight.get(), device.zeros(1, 5), false}, fits{weight.get(), device.zeros(1, 4), false};
  EXPECT_THROW(device.backend->linear(*device.stream, device.zeros(1, 8), std::span(&wide, 1)), Error);
  EXPECT_THROW(device.backend->linear(*device.stream, device.zeros(1, 7), std::span(&fits, 1)), Error);
  Linear bad = linear;
  bad.bias.resize(3);
  EXPECT_THROW(device.backend->prepare(bad), Error);
  bad = linear;
  bad.input_permutation = {0, 1, 2, 3, 4, 5, 6, 8};
  EXPECT_THROW(device.backend->prepare(bad), Error);
  bad = linear;
  bad.input_scale.resize(9);
  EXPECT_THROW(device.backend->prepare(bad), Error);
}

}  // namespace
}  // namespace lathe::kernels
