// Every operation but products and attention: against closed forms in double precision, at odd sizes and strides, on
// every set of kernels.
#include <cmath>
#include <functional>

#include "base/error.h"
#include "kernels/device.h"

namespace lathe::kernels {
namespace {

class OperationsTest : public testing::TestWithParam<std::string> {
 protected:
  Device device{GetParam()};
  Backend& backend() { return *device.backend; }
  Stream& stream() { return *device.stream; }
};
INSTANTIATE_TEST_SUITE_P(Kernels, OperationsTest, testing::ValuesIn(cpu::available_kernels()),
                         [](const auto& info) { return info.param; });

TEST_P(OperationsTest, Norms) {
  for (const std::uint64_t width : {1, 3, 16, 17, 63, 64, 100, 1029}) {
    for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
      for (const bool affine : {false, true}) {
        const std::uint64_t rows = 3, heads = 2;
        const Floats x = random_floats(rows * heads * width, static_cast<std::uint32_t>(width), 3);
        const Floats weight = random_floats(width, 1), bias = random_floats(width, 2);
        const DeviceTensor out = device.tensor(Floats(x.size()), rows, heads * width + 7);
        backend().norm(stream(), kind, out, device.tensor(x, rows, heads * width + 1),
                       affine ? device.floats(weight) : nullptr, affine ? device.floats(bias) : nullptr, width, 1e-5f);
        const Floats got = device.read(out);
        for (std::size_t head = 0; head < x.size(); head += width) {
          double mean = 0, squares = 0;
          for (std::size_t i = 0; i < width; ++i) mean += x[head + i] / static_cast<double>(width);
          if (kind == NormKind::kRms) mean = 0;
          for (std::size_t i = 0; i < width; ++i)
            squares += std::pow(x[head + i] - mean, 2) / static_cast<double>(width);
          for (std::size_t i = 0; i < width; ++i) {
            double expected = (x[head + i] - mean) / std::sqrt(squares + 1e-5);
            if (affine) expected = expected * weight[i] + bias[i];
            ASSERT_NEAR(got[head + i], expected, 3e-6 * (1 + std::abs(expected))) << width;
          }
        }
        device.buffers.clear();
      }
    }
  }
}

TEST_P(OperationsTest, Activations) {
  const std::pair<ActivationKind, std::function<double(double)>> kinds[] = {
      {ActivationKind::kSilu, [](double x) { return x / (1 + std::exp(-x)); }},
      {ActivationKind::kGelu, [](double x) { return x * 0.5 * std::erfc(-x / std::sqrt(2.0)); }},
      {ActivationKind::kGeluTanh,
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {ActivationKind::kGeluQuick, [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
      {ActivationKind::kRelu, [](double x) { return std::max(x, 0.0); }},
      {ActivationKind::kRelu2, [](double x) { return std::max(x, 0.0) * std::max(x, 0.0); }},
  };
  Floats x = random_floats(333, 1, 4);
  for (const float extreme : {0.0f, -0.0f, 1e-20f, 88.0f, -88.0f, 200.0f, -200.0f, 1e30f}) x.push_back(extreme);
  const Floats up = random_floats(x.size(), 2);
  for (const auto& [kind, function] : kinds) {
    const DeviceTensor out = device.zeros(1, x.size()), gated = device.zeros(1, x.size());
    backend().activate(stream(), kind, out, device.tensor(x, 1));
    backend().gated(stream(), kind, gated, device.tensor(x, 1), device.tensor(up, 1));
    const Floats got = device.read(out), product = device.read(gated);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = function(x[i]);
      if (std::abs(expected) > 1e37) continue;  // relu2 of 1e30
      ASSERT_NEAR(got[i], expected, 1e-6 * std::max(1.0, std::abs(expected)))
          << static_cast<int>(kind) << " of " << x[i];
      ASSERT_NEAR(product[i], expected * up[i], 1e-6 * std::max(1.0, std::abs(expected * up[i])));
    }
    const DeviceTensor poison = device.tensor({NAN, 1, INFINITY}, 1);
    backend().activate(stream(), kind, poison, poison);
    const Floats after = device.read(poison);
    EXPECT_TRUE(std::isnan(after[0]));
    EXPECT_TRUE(std::isfinite(after[1]));
    EXPECT_EQ(after[2], INFINITY);
  }
}

TEST_P(OperationsTest, AddScaleAndSoftcap) {
  for (const std::uint64_t width : {1, 15, 16, 33, 500}) {
    const Floats a = random_floats(2 * width, 1), b = random_floats(2 * width, 2);
    const DeviceTensor out = device.zeros(2, width), x = device.tensor(a, 2, width + 3);
    backend().add(stream(), out, x, device.tensor(b, 2));
    const Floats sum = device.read(out);
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(sum[i], a[i] + b[i]);
    backend().scale(stream(), x, 0.3f);
    const Floats scaled = device.read(x);
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(scaled[i], a[i] * 0.3f);
  }
  Floats x = random_floats(400, 3, 60);
  for (int i = 0; i < 200; ++i) x[static_cast<std::size_t>(i)] *= 1e-3f;
  x.push_back(1e9f), x.push_back(-1e9f), x.push_back(0);
  const DeviceTensor t = device.tensor(x, 1);
  backend().softcap(stream(), t, 30);
  const Floats got = device.read(t);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = 30 * std::tanh(x[i] / 30.0);
    ASSERT_NEAR(got[i], expected, 5e-7 * std::abs(expected)) << x[i];
  }
}

TEST_P(OperationsTest, RopeRotatesBothLayouts) {
  for (const std::uint64_t n_freq : {1, 3, 16, 24, 32, 50}) {
    const std::uint32_t head_dim = static_cast<std::uint32_t>(2 * n_freq + 5);  // the last 5 stay
    const std::uint64_t rows = 4, heads = 3;
    const std::vector<std::int32_t> positions = {0, 1, 77, 4095};
    Floats frequencies(n_freq);
    for (std::size_t i = 0; i < n_freq; ++i)
      frequencies[i] = std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(n_freq));
    const DeviceTensor table = device.zeros(rows, 2 * n_freq);
    backend().rope_table(stream(), table, device.array(positions), device.floats(frequencies), n_freq, 1.5f);
    for (const RopeLayout layout : {RopeLayout::kInterleaved, RopeLayout::kHalves}) {
      const Floats x = random_floats(rows * heads * head_dim, 1);
      const DeviceTensor t = device.tensor(x, rows, heads * head_dim + 2);
      backend().rope(stream(), t, table, head_dim, layout);
      const Floats got = device.read(t);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t head = 0; head < heads; ++head) {
          const std::size_t at = (row * heads + head) * head_dim;
          for (std::size_t i = 0; i < n_freq; ++i) {
            const std::size_t a = layout == RopeLayout::kInterleaved ? 2 * i : i;
            const std::size_t b = layout == RopeLayout::kInterleaved ? 2 * i + 1 : i + n_freq;
            const double angle = static_cast<float>(positions[row]) * frequencies[i];
            const double c = 1.5 * std::cos(angle), s = 1.5 * std::sin(angle);
            ASSERT_NEAR(got[at + a], x[at + a] * c - x[at + b] * s, 2e-6);
            ASSERT_NEAR(got[at + b], x[at + a] * s + x[at + b] * c, 2e-6);
          }
          for (std::size_t i = 2 * n_freq; i < head_dim; ++i) ASSERT_EQ(got[at + i], x[at + i]);
        }
      }
    }
  }
}

TEST_P(OperationsTest, EmbedDecodesRows) {
  const std::vector<std::int32_t> ids = {3, 0, 9, 3};
  for (const std::string_view codec : {"F32", "F16", "Q8_0", "Q4_0", "Q6_K"}) {
    const PackedTensor table = random_blocks(codec, 10, 256, 1);
    const auto prepared = backend().prepare_table(table);
    EXPECT_EQ(prepared->rows(), 10u);
    EXPECT_EQ(prepared->width(), 256u);
    const Floats values = table.to_floats(), before = random_floats(4 * 256, 2);
    const DeviceTensor plain = device.tensor(before, 4, 260), added = device.tensor(before, 4, 260);
    backend().embed(stream(), plain, *prepared, device.array(ids), 2.5f, false);
    backend().embed(stream(), added, *prepared, device.array(ids), 2.5f, true);
    const Floats got = device.read(plain), sum = device.read(added);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const float expected = 2.5f * values[static_cast<std::size_t>(ids[i / 256]) * 256 + i % 256];
      ASSERT_FLOAT_EQ(got[i], expected);
      ASSERT_NEAR(sum[i], double{expected} + before[i], 1e-6 * (1 + std::abs(expected)));
    }
  }
  const auto prepared = backend().prepare_table(random_blocks("F32", 10, 4, 1));
  for (const std::int32_t bad : {-1, 10}) {
    const std::vector<std::int32_t> one = {bad};
    EXPECT_THROW(backend().embed(stream(), device.zeros(1, 4), *prepared, device.array(one), 1, false), Error);
  }
}

TEST_P(OperationsTest, GatherAndArgmax) {
  const Floats x = random_floats(5 * 19, 1);
  const std::vector<std::uint32_t> rows = {4, 0, 4};
  const DeviceTensor out = device.zeros(3, 19), source = device.tensor(x, 5, 23);
  backend().gather_rows(stream(), out, source, rows);
  const Floats got = device.read(out);
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], x[rows[i / 19] * 19 + i % 19]);
  const std::vector<std::uint32_t> outside = {5};
  EXPECT_THROW(backend().gather_rows(stream(), device.zeros(1, 19), source, outside), Error);

  for (const std::uint64_t width : {1, 7, 16, 40, 1001}) {
    Floats rows_of = random_floats(6 * width, 2);
    const std::size_t where[6] = {0, width - 1, width / 2, width / 3, 0, 0};
    for (std::size_t r = 0; r < 4; ++r) rows_of[r * width + where[r]] = 100;
    if (width > 3) rows_of[2 * width + width - 1] = 100;                   // a tie: the lower wins
    for (std::size_t i = 0; i < width; ++i) rows_of[4 * width + i] = NAN;  // nothing to win
    for (std::size_t i = 0; i < width; ++i) rows_of[5 * width + i] = -INFINITY;
    DeviceBuffer best = backend().allocate(6 * sizeof(std::int32_t));
    backend().argmax(stream(), static_cast<std::int32_t*>(best.data()), device.tensor(rows_of, 6));
    std::int32_t indices[6];
    backend().download(stream(), indices, best.data(), sizeof indices);
    for (std::size_t r = 0; r < 6; ++r)
      EXPECT_EQ(indices[r], static_cast<std::int32_t>(where[r])) << width << ", row " << r;
  }
}

TEST(Backend, AllocationIsZeroedAlignedAndCounted) {
  Device device("auto");
  const std::uint64_t before = device.backend->allocated_bytes();
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1} << 21}) {
    const DeviceBuffer buffer = device.backend->allocate(bytes);
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    for (std::uint64_t i = 0; i < bytes; i += 97) ASSERT_EQ(static_cast<const char*>(buffer.data())[i], 0);
    EXPECT_GE(device.backend->allocated_bytes(), before + bytes);
  }
  EXPECT_EQ(device.backend->allocated_bytes(), before);
  {
    const auto linear = device.backend->prepare({random_blocks("Q8_0", 4, 64, 1), {}, {}, {}});
    EXPECT_EQ(linear->bytes(), 4u * 2 * 34);
    EXPECT_EQ(device.backend->allocated_bytes(), before + linear->bytes());
  }
  EXPECT_EQ(device.backend->allocated_bytes(), before);
  EXPECT_THROW(device.backend->allocate(std::uint64_t{1} << 62), Error);
  EXPECT_THROW(device.backend->allocate(~std::uint64_t{0}), Error);
}

// A buffer far larger than this machine's memory costs nothing until it is written.
TEST(Backend, UntouchedMemoryIsNotResident) {
  Device device("auto");
  const DeviceBuffer buffer = device.backend->allocate(std::uint64_t{1} << 36);
  static_cast<char*>(buffer.data())[std::uint64_t{1} << 35] = 1;
  EXPECT_EQ(static_cast<const char*>(buffer.data())[(std::uint64_t{1} << 36) - 1], 0);
}

TEST(Backend, NamesDevicesAndKernels) {
  EXPECT_EQ(make_backend("cpu", {1, "scalar"})->description(), "1 thread, scalar");
  EXPECT_EQ(make_backend("cpu", {})->name(), "cpu");
  for (const std::string_view bad : {"gpu", "cuda:", "cuda:x", "cuda:-1", ""})
    EXPECT_THROW(make_backend(bad, {}), UsageError);
  for (const std::string bad : {"avx9", "", "AUTO"}) EXPECT_THROW(make_cpu_backend({1, bad}), UsageError);
  EXPECT_EQ(kv_codec_name(KvCodec::kI8), "int8");
  for (const std::string& kernel : cpu::available_kernels()) EXPECT_NO_THROW(make_cpu_backend({1, kernel}));
}

}  // namespace
}  // namespace lathe::kernels
