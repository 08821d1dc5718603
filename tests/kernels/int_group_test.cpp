// Integer groups, by dot products and by table look-up: against plain double-precision models of what each computes, at
// odd sizes; exactly, where the inputs allow it; and the promises every kernel keeps.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "kernels/laid_out.h"
#include "tensor/codecs/int_group.h"

namespace lathe::kernels {
namespace {

struct Case {
  int bits;
  IntGroupKind kind;
  int group;
  std::uint64_t out, in;
};

constexpr auto kSymmetric = IntGroupKind::kSymmetric, kAsymmetric = IntGroupKind::kAsymmetric,
               kBipolar = IntGroupKind::kBipolar;

const IntGroupCodec& codec_of(IntGroupKind kind) {
  constexpr std::string_view kNames[] = {"INT_SYM", "INT_ASYM", "BIPOLAR"};
  return *int_group_codec(codec_named(kNames[static_cast<int>(kind)]));
}

std::string text_of(const Case& c) {
  return fmt::format("{} bits, {}, group {}, [{}, {}]", c.bits, codec_of(c.kind).name(), c.group, c.out, c.in);
}

struct Weight {
  Linear linear;
  std::vector<std::uint8_t> levels;  // [out, in]
  std::vector<IntGrid> grids;        // [out, groups]
  std::uint64_t groups;
};

// Scales are random halves, or +-1 and +-1/2 for exact products.
Weight make_weight(const Case& c, std::uint32_t seed, bool exact = false) {
  std::mt19937 random(seed);
  const CodecParams params{c.bits, c.group};
  Weight w;
  w.groups = int_groups(params, c.in);
  w.levels.resize(c.out * c.in);
  for (auto& level : w.levels) level = static_cast<std::uint8_t>(random() & ((1u << c.bits) - 1));
  w.grids.resize(c.out * w.groups);
  for (IntGrid& grid : w.grids) {
    const float any = 0.001f * static_cast<float>(random() % 2000) - 1;
    const float simple = (random() & 1 ? 1.0f : 0.5f) * (random() & 1 ? 1.0f : -1.0f);
    grid.scale = float_from_half(half_from_float(exact ? simple : any));
    grid.zero = c.kind == kAsymmetric ? static_cast<float>(random() % (1u << c.bits)) : fixed_zero(c.kind, c.bits);
  }
  w.linear.weight = pack_int_groups("w", codec_of(c.kind), Shape{c.out, c.in}, params, w.levels, w.grids);
  return w;
}

struct Expected {
  double value, magnitude;
};

Expected expected_dot(const Weight& w, const Case& c, const std::vector<double>& x, std::uint64_t row) {
  Expected e{0, 1e-6};
  const std::uint64_t group = c.group == 0 ? c.in : static_cast<std::uint64_t>(c.group);
  for (std::uint64_t i = 0; i < c.in; ++i) {
    const IntGrid& grid = w.grids[row * w.groups + i / group];
    const double level = w.levels[row * c.in + i];
    e.value += grid.scale * (level - grid.zero) * x[i];
    e.magnitude += std::abs(grid.scale) * (level + std::abs(grid.zero)) * std::abs(x[i]);
  }
  return e;
}

// The look-up of T-MAC in plain steps: signs, sums of four, one byte each, and the part of the levels that signs do not
// say. `fast`: the bytes averaged pair by pair, halves up, less the quarter that each of 4 levels adds.
Expected expected_lut(const Weight& w, const Case& c, const Floats& x, std::uint64_t row, bool fast) {
  Expected e{0, 1e-6};
  const std::uint64_t group = c.group == 0 ? c.in : static_cast<std::uint64_t>(c.group);
  for (std::uint64_t begin = 0; begin < c.in; begin += 64) {
    const std::uint64_t end = std::min(begin + 64, c.in);
    const auto at = [&](std::uint64_t i) { return i < c.in ? x[i] : 0.0f; };
    float largest = 0;
    double sum = 0;
    for (std::uint64_t i = begin; i < end; i += 4) {
      largest = std::max(largest, std::abs(at(i)) + std::abs(at(i + 1)) + std::abs(at(i + 2)) + std::abs(at(i + 3)));
      sum += double{at(i)} + at(i + 1) + at(i + 2) + at(i + 3);
    }
    const float unit = largest / 127, inverse = 127 / largest;
    const IntGrid& grid = w.grids[row * w.groups + begin / group];
    double signs = 0;
    for (int p = 0; p < c.bits; ++p) {
      std::vector<int> entries;
      for (std::uint64_t i = begin; i < begin + 64; i += 4) {
        float entry = 0;
        for (std::uint64_t j = i; j < i + 4; ++j) {
          const bool set = j < c.in && (w.levels[row * c.in + j] >> p & 1);
          entry += set ? at(j) : -at(j);
        }
        entries.push_back(largest == 0 ? 0 : static_cast<int>(std::nearbyint(entry * inverse)));
      }
      int total = std::accumulate(entries.begin(), entries.end(), 0);
      if (fast) {
        for (std::size_t n = entries.size() / 2; n > 0; n /= 2) {
          for (std::size_t i = 0; i < n; ++i) entries[i] = (entries[2 * i] + entries[2 * i + 1] + 1) >> 1;
        }
        total = 16 * (entries[0] - 1);
      }
      signs += std::ldexp(total, p - 1);
    }
    const double middle = (std::ldexp(1.0, c.bits) - 1) / 2 - grid.zero;
    e.value += grid.scale * (signs * unit + middle * sum);
    e.magnitude += std::abs(grid.scale) * std::ldexp(largest, c.bits) * 16;
  }
  return e;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const IntGroupKind kind : {kSymmetric, kAsymmetric, kBipolar}) {
      all.push_back({bits, kind, 64, 67, 192});
      all.push_back({bits, kind, 128, 17, 192});  // a short last group
      all.push_back({bits, kind, 0, 5, 1312});
    }
    all.push_back({bits, kSymmetric, 32, 35, 96});
    all.push_back({bits, kAsymmetric, 32, 131, 160});
    all.push_back({bits, kSymmetric, 0, 16, 13});  // columns that fill no chunk
    all.push_back({bits, kAsymmetric, 256, 65, 100});
    all.push_back({bits, kAsymmetric, 24, 19, 96});  // no kernel but by decoding
    all.push_back({bits, kSymmetric, 1, 3, 8});
  }
  return all;
}

class IntGroupTest : public testing::TestWithParam<std::string> {};
std::vector<std::string> every_way() {
  std::vector<std::string> names;
  for (const std::string& name : cpu::available_kernels()) {
    names.push_back(name + "+dot");
    if (name == "scalar") continue;
    names.push_back(name + "+lut");
    names.push_back(name + "+lut-fast");
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(Kernels, IntGroupTest, testing::ValuesIn(every_way()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '+' || c == '-'; }, '_');
  return name;
});

// Tolerances: a few dozen roundings of floats, relative to the sum of all magnitudes. An entry of a table may fall on
// the other side of a tie than the model's, by one unit of 1 / 127 of the block's largest sum.
TEST_P(IntGroupTest, EveryWidthMatchesItsModel) {
  Device device(GetParam());
  for (const Case& c : cases()) {
    const Weight w = make_weight(c, static_cast<std::uint32_t>(c.bits * 100 + c.group));
    const std::string kernel = kernel_of(device, w.linear);
    const bool lut = kernel.find("look-up") != std::string::npos, fast = kernel.find("averaged") != std::string::npos,
               dot = kernel.find("x q8") != std::string::npos;
    if (GetParam() != "scalar+dot") {
      EXPECT_EQ(lut, GetParam().find("+lut") != std::string::npos && (c.group == 0 || c.group % 64 == 0)) << text_of(c);
      EXPECT_TRUE(lut || dot || c.group % 32 != 0) << text_of(c);
    }
    for (const std::uint64_t rows : {1, 3, 6}) {
      Floats x = random_floats(rows * c.in, static_cast<std::uint32_t>(rows + c.in));
      for (float& value : x) value += 0.3f;  // the terms beside the signs must not vanish
      const Floats got = run_linear(device, w.linear, x, rows);
      for (std::uint64_t r = 0; r < rows; ++r) {
        const auto row_begin = x.begin() + static_cast<std::ptrdiff_t>(r * c.in);
        const Floats row(row_begin, row_begin + static_cast<std::ptrdiff_t>(c.in));
        const std::vector<double> plain(row.begin(), row.end()), blocks = seen_in_blocks(row);
        for (std::uint64_t o = 0; o < c.out; ++o) {
          const Expected e = lut ? expected_lut(w, c, row, o, fast) : expected_dot(w, c, dot ? blocks : plain, o);
          ASSERT_NEAR(got[r * c.out + o], e.value, e.magnitude * (lut ? 0x1p-14 : 0x1p-20))
              << text_of(c) << ", row " << r << ", feature " << o;
        }
      }
    }
    device.buffers.clear();
  }
}

// Integer activations whose largest sum of four is 127 in every block, so that tables and 8-bit blocks hold them as
// they are: the product must be the integers' own, bit for bit.
TEST_P(IntGroupTest, IntegersGiveExactProducts) {
  const bool fast = GetParam().ends_with("-fast");  // averages, which are not
  std::size_t inexact = 0;
  Device device(GetParam());
  for (int bits = 1; bits <= 8; ++bits) {
    for (const IntGroupKind kind : {kSymmetric, kAsymmetric, kBipolar}) {
      for (const std::uint64_t in : {4096, 192}) {
        const Case c{bits, kind, 128, 67, in};
        const Weight w = make_weight(c, static_cast<std::uint32_t>(bits), true);
        std::mt19937 random(7);
        Floats x(in);
        for (float& value : x) value = static_cast<float>(random() % 41) - 15;  // mean 5
        for (std::uint64_t i = 0; i < in; i += 32) {
          x[i] = 127;
          x[i + 1] = x[i + 2] = x[i + 3] = 0;
          for (std::uint64_t j = i + 4; j < i + 32; ++j) x[j] = std::clamp(x[j], -31.0f, 31.0f);
        }
        const Floats got = run_linear(device, w.linear, x, 1);
        const std::vector<double> plain(x.begin(), x.end());
        for (std::uint64_t o = 0; o < c.out; ++o) {
          const double exact = expected_dot(w, c, plain, o).value;
          inexact += got[o] != exact ? 1 : 0;
          if (fast) continue;
          ASSERT_EQ(got[o], exact) << text_of(c) << ", feature " << o;
        }
      }
    }
  }
  EXPECT_EQ(inexact > 0, fast);
}

// Error energy over the variance of the outputs.
double error_energy(const std::string& kernel, int bits, float offset) {
  Device device(kernel);
  const Case c{bits, kSymmetric, 128, 256, 4096};
  const Weight w = make_weight(c, static_cast<std::uint32_t>(bits));
  std::mt19937 random(3);
  std::normal_distribution<float> normal(offset, 1);
  Floats x(c.in);
  for (float& value : x) value = normal(random);
  const Floats got = run_linear(device, w.linear, x, 1);
  const std::vector<double> plain(x.begin(), x.end());
  double error = 0, sum = 0, squares = 0;
  for (std::uint64_t o = 0; o < c.out; ++o) {
    const double exact = expected_dot(w, c, plain, o).value;
    error += (got[o] - exact) * (got[o] - exact);
    sum += exact, squares += exact * exact;
  }
  return error / (squares - sum * sum / static_cast<double>(c.out));
}

// Bytes for activations cost little, also when activations have a mean. Averages cost more, and it shows.
TEST_P(IntGroupTest, ErrorEnergyIsSmall) {
  constexpr std::string_view kFast = "-fast";
  const bool fast = GetParam().ends_with(kFast);
  for (int bits = 1; bits <= 4; ++bits) {
    for (const float offset : {0.0f, 1.0f}) {
      const double energy = error_energy(GetParam(), bits, offset);
      EXPECT_LT(energy, fast ? 1e-2 : 1e-4) << bits << " bits, offset " << offset;
      if (!fast) continue;
      RecordProperty("energy" + std::to_string(bits) + (offset > 0 ? "_mean" : ""), std::to_string(energy));
      EXPECT_GT(energy, error_energy(GetParam().substr(0, GetParam().size() - kFast.size()), bits, offset));
    }
  }
}

TEST_P(IntGroupTest, RowsThreadsAndPoisonStayApart) {
  Device one(GetParam(), 1), five(GetParam(), 5);
  for (const Case& c :
       {Case{2, kSymmetric, 128, 537, 1280}, Case{3, kAsymmetric, 64, 537, 192}, Case{8, kAsymmetric, 32, 100, 320}}) {
    Weight w = make_weight(c, 4);
    w.linear.bias = random_floats(c.out, 6);
    const std::uint64_t rows = 9;
    Floats x = random_floats(rows * c.in, 9);
    const Floats all = run_linear(one, w.linear, x, rows);
    EXPECT_TRUE(same_bits(all, run_linear(five, w.linear, x, rows))) << text_of(c);
    for (std::uint64_t r = 0; r < rows; ++r) {
      const auto at = [&](const Floats& v, std::uint64_t row, std::uint64_t width) {
        const auto begin = v.begin() + static_cast<std::ptrdiff_t>(row * width);
        return Floats(begin, begin + static_cast<std::ptrdiff_t>(width));
      };
      EXPECT_TRUE(same_bits(run_linear(one, w.linear, at(x, r, c.in), 1), at(all, r, c.out)))
          << text_of(c) << ", row " << r;
    }
    for (const float poison : {NAN, INFINITY}) {
      Floats bad = x;
      bad[4 * c.in + 40] = poison;
      const Floats got = run_linear(one, w.linear, bad, rows);
      for (std::uint64_t o = 0; o < c.out; ++o) {
        EXPECT_FALSE(std::isfinite(got[4 * c.out + o])) << text_of(c);
        EXPECT_EQ(got[3 * c.out + o], all[3 * c.out + o]);
      }
    }
  }
}

TEST(IntGroup, InstructionSetsAgree) {
  const std::vector<std::string> names = fast_kernels();
  for (const Case& c : cases()) {
    if (c.group != 0 && c.group % 32 != 0) continue;  // decoded to floats
    const Weight w = make_weight(c, 11);
    const Floats x = random_floats(5 * c.in, 12);
    for (const std::string way : {"+dot", "+lut", "+lut-fast"}) {
      if (names.front() == "scalar") continue;
      Device first(names.front() + way);
      const Floats expected = run_linear(first, w.linear, x, 5);
      for (const std::string& name : names) {
        Device device(name + way);
        EXPECT_TRUE(same_bits(expected, run_linear(device, w.linear, x, 5))) << text_of(c) << ", " << name << way;
      }
    }
  }
}

}  // namespace
}  // namespace lathe::kernels
