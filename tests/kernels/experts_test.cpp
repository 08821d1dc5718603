// Routing, products with chosen matrices, the clamped gate and attention sinks: against closed forms in double
// precision at odd sizes, on every set of kernels.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/cpu/partials.h"
#include "kernels/device.h"

namespace lathe::kernels {
namespace {

class ExpertsTest : public testing::TestWithParam<std::string> {
 protected:
  Device device{GetParam(), 3};
  Backend& backend() { return *device.backend; }
  Stream& stream() { return *device.stream; }

  struct Routed {
    std::vector<std::int32_t> experts;
    Floats weights;
  };
  Routed route(const RouterParams& params, const Floats& logits, std::uint64_t rows) {
    const DeviceTensor weights = device.zeros(rows, params.top_k);
    DeviceTensor experts = device.zeros(rows, params.top_k);
    experts.dtype = DType::kI32;
    backend().route(stream(), params, weights, experts, device.tensor(logits, rows));
    Routed routed{std::vector<std::int32_t>(rows * params.top_k), device.read(weights)};
    backend().download(stream(), routed.experts.data(), experts.data, routed.experts.size() * sizeof(std::int32_t));
    return routed;
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, ExpertsTest, testing::ValuesIn(cpu::available_kernels()),
                         [](const auto& info) { return info.param; });

TEST_P(ExpertsTest, RoutesByEveryRule) {
  const Floats logits = {1, 3, -1, 2, 0, 2.5f};
  double total = 0;
  for (const float logit : logits) total += std::exp(double{logit});
  const auto softmax = [&](int i) { return std::exp(double{logits[static_cast<std::size_t>(i)]}) / total; };
  const auto sigmoid = [&](int i) { return 1 / (1 + std::exp(-double{logits[static_cast<std::size_t>(i)]})); };

  Routed r = route({.score = RouterScore::kSoftmax, .top_k = 3}, logits, 1);
  EXPECT_EQ(r.experts, (std::vector<std::int32_t>{1, 5, 3}));
  EXPECT_NEAR(r.weights[0], softmax(1), 1e-6);
  EXPECT_NEAR(r.weights[2], softmax(3), 1e-6);

  r = route({.score = RouterScore::kSoftmax, .top_k = 2, .normalize = true, .scale = 2.5f}, logits, 1);
  EXPECT_NEAR(r.weights[0], 2.5 * softmax(1) / (softmax(1) + softmax(5)), 1e-6);
  EXPECT_NEAR(r.weights[0] + r.weights[1], 2.5, 1e-6);

  r = route({.score = RouterScore::kSoftmaxOfChosen, .top_k = 2}, logits, 1);
  EXPECT_NEAR(r.weights[0], 1 / (1 + std::exp(-0.5)), 1e-6);

  // A correction changes who is chosen, not what with.
  const Floats correction = {0, 0, 1, 0, 0, 0};
  r = route({.score = RouterScore::kSigmoid, .top_k = 2, .correction = device.floats(correction)}, logits, 1);
  EXPECT_EQ(r.experts, (std::vector<std::int32_t>{2, 1}));
  EXPECT_NEAR(r.weights[0], sigmoid(2), 1e-6);
  EXPECT_NEAR(r.weights[1], sigmoid(1), 1e-6);

  // Three groups of two: by their best, {2, 3} loses to {0, 1} and {4, 5}.
  r = route({.score = RouterScore::kSoftmax, .top_k = 3, .n_groups = 3, .top_groups = 2}, logits, 1);
  EXPECT_EQ(r.experts, (std::vector<std::int32_t>{1, 5, 0}));
  // By the sum of their two best, with a correction that lifts expert 2: {2, 3} wins over {4, 5}.
  const Floats lift = {0, 0, 0.9f, 0, 0, 0};
  r = route(
      {.score = RouterScore::kSigmoid, .top_k = 2, .n_groups = 3, .top_groups = 1, .correction = device.floats(lift)},
      logits, 1);
  EXPECT_EQ(r.experts, (std::vector<std::int32_t>{2, 3}));
}

TEST_P(ExpertsTest, RoutesTiesToTheLowestAndNaNLast) {
  const float nan = std::nanf(""), infinity = INFINITY;
  Routed r = route({.score = RouterScore::kSoftmaxOfChosen, .top_k = 2}, {1, 1, 1, 1, 0, 0, 0, 0}, 2);
  EXPECT_EQ(r.experts, (std::vector<std::int32_t>{0, 1, 0, 1}));
  r = route({.score = RouterScore::kSoftmaxOfChosen, .top_k = 3}, {nan, -infinity, 2, 1}, 1);
  EXPECT_EQ(r.experts, (std::vector<std::int32_t>{2, 3, 0}));
  EXPECT_THROW(route({.top_k = 5}, {1, 2, 3, 4}, 1), Error);
  EXPECT_THROW(route({.top_k = 3, .n_groups = 2, .top_groups = 1}, {1, 2, 3, 4}, 1), Error);
  EXPECT_THROW(route({.top_k = 1, .n_groups = 3, .top_groups = 1}, {1, 2, 3, 4}, 1), Error);
}

struct Matrices {
  std::vector<std::shared_ptr<const PreparedLinear>> owned;
  std::vector<const PreparedLinear*> pointers;
  std::vector<Floats> values, biases;
};

Matrices make_matrices(Backend& backend, std::size_t count, std::uint64_t out, std::uint64_t in, const char* codec) {
  Matrices all;
  for (std::size_t i = 0; i < count; ++i) {
    Linear linear;
    const auto seed = static_cast<std::uint32_t>(i + 10 * out);
    linear.weight = pack("w", codec_named(codec), Shape{out, in}, random_floats(out * in, seed, 0.3f));
    linear.bias = random_floats(out, seed + 1);
    all.values.push_back(linear.weight.to_floats());
    all.biases.push_back(linear.bias);
    all.owned.push_back(backend.prepare(linear));
    all.pointers.push_back(all.owned.back().get());
  }
  return all;
}

// Row i of out is matrix choice[i] times row i / each of x. Q8_0 rounds its input: its tolerance is that of 8 bits.
TEST_P(ExpertsTest, MultipliesEachRowWithItsChoice) {
  for (const auto& [codec, in, tolerance] : {std::tuple{"F32", 37u, 1e-5}, {"F32", 64u, 1e-5}, {"Q8_0", 96u, 6e-2}}) {
    for (const std::uint64_t each : {1, 3}) {
      const std::uint64_t rows = 7, out_rows = rows * each, out_a = 5, out_b = 33;
      const Matrices a = make_matrices(backend(), 4, out_a, in, codec),
                     b = make_matrices(backend(), 4, out_b, in, codec);
      const Floats x = random_floats(rows * in, 3);
      std::vector<std::int32_t> choice;
      for (std::uint64_t i = 0; i < out_rows; ++i) choice.push_back(static_cast<std::int32_t>(i * i % 3));  // never 3
      const DeviceTensor first = device.tensor(Floats(out_rows * out_a), out_rows, out_a + 2),
                         second = device.zeros(out_rows, out_b);
      const GroupedCall calls[] = {{a.pointers, first}, {b.pointers, second}};
      backend().grouped_linear(stream(), device.tensor(x, rows, in + 3), device.array(choice), calls);
      for (const auto& [matrices, result, out] :
           {std::tuple{&a, device.read(first), out_a}, {&b, device.read(second), out_b}}) {
        for (std::uint64_t i = 0; i < out_rows; ++i) {
          const auto m = static_cast<std::size_t>(choice[i]);
          for (std::uint64_t o = 0; o < out; ++o) {
            double expected = matrices->biases[m][o];
            for (std::uint64_t c = 0; c < in; ++c)
              expected += double{matrices->values[m][o * in + c]} * x[i / each * in + c];
            ASSERT_NEAR(result[i * out + o], expected, tolerance * (1 + std::abs(expected))) << codec << " " << i;
          }
        }
      }
    }
  }
}

// Without a choice, row i takes matrix i mod n: a matrix per head.
TEST_P(ExpertsTest, MultipliesHeadsWithTheirOwn) {
  const std::uint64_t heads = 3, rows = 5, in = 11, out = 7;
  const Matrices a = make_matrices(backend(), heads, out, in, "F32");
  const Floats x = random_floats(rows * heads * in, 8);
  const DeviceTensor result = device.zeros(rows * heads, out);
  const GroupedCall call{a.pointers, result};
  backend().grouped_linear(stream(), device.tensor(x, rows * heads, in + 4), nullptr, {&call, 1});
  const Floats got = device.read(result);
  for (std::uint64_t i = 0; i < rows * heads; ++i) {
    for (std::uint64_t o = 0; o < out; ++o) {
      double expected = a.biases[i % heads][o];
      for (std::uint64_t c = 0; c < in; ++c) expected += double{a.values[i % heads][o * in + c]} * x[i * in + c];
      ASSERT_NEAR(got[i * out + o], expected, 1e-5 * (1 + std::abs(expected)));
    }
  }
  const std::vector<std::int32_t> beyond(rows * heads, 3);
  EXPECT_THROW(backend().grouped_linear(stream(), device.tensor(x, rows * heads), device.array(beyond), {&call, 1}),
               Error);
}

TEST_P(ExpertsTest, CombinesByWeight) {
  const std::uint64_t rows = 3, k = 2, width = 19;
  const Floats x = random_floats(rows * k * width, 1), w = random_floats(rows * k, 2),
               before = random_floats(rows * width, 3);
  for (const bool accumulate : {false, true}) {
    const DeviceTensor out = device.tensor(before, rows, width + 5);
    backend().combine(stream(), out, device.tensor(x, rows * k), device.tensor(w, rows), accumulate);
    const Floats got = device.read(out);
    for (std::size_t i = 0; i < rows * width; ++i) {
      const std::size_t r = i / width, c = i % width;
      const double expected = (accumulate ? before[i] : 0.0) + double{w[r * k]} * x[r * k * width + c] +
                              double{w[r * k + 1]} * x[(r * k + 1) * width + c];
      ASSERT_NEAR(got[i], expected, 1e-5);
    }
  }
}

TEST_P(ExpertsTest, ClampsTheGate) {
  for (const std::uint64_t n : {1, 7, 16, 37}) {
    Floats gate = random_floats(n, 1, 6), up = random_floats(n, 2, 6);
    gate[0] = 50, up[0] = -50;
    const DeviceTensor out = device.zeros(1, n);
    backend().gated_clamped(stream(), out, device.tensor(gate, 1), device.tensor(up, 1), 7);
    const Floats got = device.read(out);
    for (std::size_t i = 0; i < n; ++i) {
      const double g = std::min<double>(gate[i], 7), u = std::clamp<double>(up[i], -7, 7);
      const double expected = (u + 1) * g / (1 + std::exp(-1.702 * g));
      ASSERT_NEAR(got[i], expected, 3e-6 * (1 + std::abs(expected)));
    }
  }
  Floats gate = {std::nanf(""), 1}, up = {1, std::nanf("")};
  const DeviceTensor out = device.zeros(1, 2);
  backend().gated_clamped(stream(), out, device.tensor(gate, 1), device.tensor(up, 1), 7);
  for (const float value : device.read(out)) EXPECT_TRUE(std::isnan(value));
}

TEST_P(ExpertsTest, AssignsBetweenStrides) {
  const Floats x = random_floats(3 * 5, 4);
  const DeviceTensor out = device.tensor(Floats(15), 3, 9);
  backend().assign(stream(), out, device.tensor(x, 3, 6));
  EXPECT_EQ(device.read(out), x);
}

// A table row turns all the rows of x that belong to it.
TEST_P(ExpertsTest, RotatesSeveralRowsByOnePosition) {
  const std::uint64_t rows = 3, each = 4, dim = 6;
  const Floats x = random_floats(rows * each * dim, 9), table = random_floats(rows * dim, 10);
  const DeviceTensor out = device.tensor(x, rows * each, dim + 3);
  backend().rope(stream(), out, device.tensor(table, rows), dim, RopeLayout::kInterleaved);
  const Floats got = device.read(out);
  for (std::uint64_t r = 0; r < rows * each; ++r) {
    for (std::uint64_t i = 0; i < dim / 2; ++i) {
      const double c = table[r / each * dim + i], s = table[r / each * dim + dim / 2 + i];
      const double a = x[r * dim + 2 * i], b = x[r * dim + 2 * i + 1];
      ASSERT_NEAR(got[r * dim + 2 * i], a * c - b * s, 1e-5);
      ASSERT_NEAR(got[r * dim + 2 * i + 1], a * s + b * c, 1e-5);
    }
  }
}

// A sink is one more key of that score and of value zero.
TEST(Sinks, AreAKeyWithoutAValue) {
  for (const float sink : {-3.0f, 0.5f, 40.0f}) {
    const double scores[] = {0.25, 1.5, -2}, values[] = {3, -1, 2};
    double sum = std::exp(double{sink}), expected = 0;
    for (const double score : scores) sum += std::exp(score);
    for (int i = 0; i < 3; ++i) expected += std::exp(scores[i]) / sum * values[i];
    cpu::Partial partial{1.5f, 0};
    float value = 0, out = 0;
    for (int i = 0; i < 3; ++i) {
      partial.sum += static_cast<float>(std::exp(scores[i] - 1.5));
      value += static_cast<float>(std::exp(scores[i] - 1.5) * values[i]);
    }
    const cpu::Partial total = cpu::finish_partial(partial, &value, &out, 1, &sink);
    EXPECT_NEAR(out, expected, 1e-6);
    EXPECT_NEAR(std::exp(1.5 - total.max) / total.sum, std::exp(1.5) / sum, 1e-6);
    cpu::finish_partial(cpu::Partial(), &value, &out, 1, &sink);
    EXPECT_EQ(out, 0);
  }
}

}  // namespace
}  // namespace lathe::kernels
