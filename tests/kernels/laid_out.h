// What the tests of codecs with kernels and layouts of their own share: running a linear layer, what 8-bit blocks make
// of its input, and the promises every kernel keeps.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "kernels/cpu/reference.h"
#include "kernels/device.h"

namespace lathe::kernels {

inline Floats run_linear(Device& device, const Linear& linear, const Floats& x, std::uint64_t rows) {
  const auto weight = device.backend->prepare(linear);
  const LinearCall call{weight.get(), device.zeros(rows, linear.out_features()), false};
  device.backend->linear(*device.stream, device.tensor(x, rows), std::span(&call, 1));
  const Floats out = device.read(call.out);
  device.buffers.clear();
  return out;
}

inline std::string kernel_of(Device& device, const Linear& linear) {
  return std::string(device.backend->prepare(linear)->kernel());
}

// One row as kernels of ActivationFormat::kQ8Block see it.
inline std::vector<double> seen_in_blocks(const Floats& x) {
  Floats padded((x.size() + 31) / 32 * 32);
  std::copy(x.begin(), x.end(), padded.begin());
  std::vector<std::int8_t> values(padded.size());
  std::vector<cpu::Q8Meta> meta(padded.size() / 32);
  cpu::kReferenceQuantize.q8(padded.data(), padded.size(), values.data(), meta.data());
  std::vector<double> seen(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) seen[i] = double{meta[i / 32].scale} * values[i];
  return seen;
}

inline Floats row_of(const Floats& values, std::uint64_t row, std::uint64_t width) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * width);
  return Floats(begin, begin + static_cast<std::ptrdiff_t>(width));
}

// The products of a weight's decoded values (held to the layout by tests/tensor) with x [rows, inputs], as 8-bit blocks
// show it where `fast`, to `tolerance` of the sum of all magnitudes.
inline void expect_decoded_products(Device& device, const Linear& linear, bool fast, const Floats& x,
                                    std::uint64_t rows, double tolerance) {
  const std::uint64_t in = linear.in_features(), out = linear.out_features();
  const std::vector<float> weight = linear.weight.to_floats();
  const Floats got = run_linear(device, linear, x, rows);
  for (std::uint64_t r = 0; r < rows; ++r) {
    const Floats row = row_of(x, r, in);
    const std::vector<double> seen = fast ? seen_in_blocks(row) : std::vector<double>(row.begin(), row.end());
    for (std::uint64_t o = 0; o < out; ++o) {
      double expected = 0, magnitude = 1e-6;
      for (std::uint64_t i = 0; i < in; ++i) {
        expected += double{weight[o * in + i]} * seen[i];
        magnitude += std::abs(double{weight[o * in + i]} * seen[i]);
      }
      ASSERT_NEAR(got[r * out + o], expected, magnitude * tolerance) << "row " << r << ", feature " << o;
    }
  }
}

// Any number of threads and of rows gives the same bytes; poison stays in its row.
inline void expect_rows_stay_apart(const std::string& kernel, Linear linear) {
  Device one(kernel, 1), five(kernel, 5);
  const std::uint64_t rows = 11, in = linear.in_features(), out = linear.out_features();
  linear.bias = random_floats(out, 6);
  const Floats x = random_floats(rows * in, 9), all = run_linear(one, linear, x, rows);
  EXPECT_TRUE(same_bits(all, run_linear(five, linear, x, rows)));
  for (std::uint64_t r = 0; r < rows; ++r) {
    EXPECT_TRUE(same_bits(run_linear(one, linear, row_of(x, r, in), 1), row_of(all, r, out))) << "row " << r;
  }
  for (const float poison : {NAN, INFINITY}) {
    Floats bad = x;
    bad[4 * in + 40] = poison;
    const Floats got = run_linear(one, linear, bad, rows);
    for (std::uint64_t o = 0; o < out; ++o) {
      EXPECT_FALSE(std::isfinite(got[4 * out + o]));
      EXPECT_EQ(got[3 * out + o], all[3 * out + o]);
    }
  }
}

inline void expect_instruction_sets_agree(const Linear& linear) {
  const std::vector<std::string> names = fast_kernels();
  const Floats x = random_floats(5 * linear.in_features(), 12);
  Device first(names.front());
  const Floats expected = run_linear(first, linear, x, 5);
  for (const std::string& name : names) {
    Device device(name);
    EXPECT_TRUE(same_bits(expected, run_linear(device, linear, x, 5))) << name;
  }
}

}  // namespace lathe::kernels
