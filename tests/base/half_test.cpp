// Storage formats against the definition of IEEE 754 and OCP formats, computed with doubles.
#include "base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

namespace lathe {
namespace {

// The value that sign, exponent and fraction of a format with these field widths spell.
double value_of(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const std::uint32_t fraction = bits & ((1u << fraction_bits) - 1);
  const std::uint32_t exponent = bits >> fraction_bits & ((1u << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits >> (exponent_bits + fraction_bits)) != 0 ? -1 : 1;
  if (exponent == (1u << exponent_bits) - 1) return fraction != 0 ? std::nan("") : sign * INFINITY;
  const double significand = exponent == 0 ? fraction : fraction + std::ldexp(1.0, fraction_bits);
  return sign * std::ldexp(significand, std::max<int>(1, static_cast<int>(exponent)) - bias - fraction_bits);
}

// Nearest value of a 16-bit format, ties to the even pattern: a search over all patterns' order.
std::uint16_t nearest(float value, int exponent_bits, int fraction_bits) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::abs(static_cast<double>(value));
  const std::uint32_t infinity = ((1u << exponent_bits) - 1) << fraction_bits;
  std::uint32_t low = 0, high = infinity;  // value_of(low) <= magnitude
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (value_of(middle, exponent_bits, fraction_bits) <= magnitude ? low : high) = middle;
  }
  // What infinity would be if the exponent went on decides where rounding overflows.
  const double below = value_of(low, exponent_bits, fraction_bits);
  const double above =
      high == infinity ? std::ldexp(1.0, 1 << (exponent_bits - 1)) : value_of(high, exponent_bits, fraction_bits);
  const bool up = magnitude - below > above - magnitude || (magnitude - below == above - magnitude && low % 2 == 1);
  return static_cast<std::uint16_t>(sign | (std::isinf(value) ? infinity : up ? high : low));
}

TEST(Half, EveryPatternDecodesAndComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const double expected = value_of(bits, 5, 10);
    const float decoded = float_from_half(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(decoded)) << bits;
      EXPECT_TRUE(std::isnan(float_from_half(half_from_float(decoded)))) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(decoded), expected) << bits;
      ASSERT_EQ(std::signbit(decoded), bits >> 15 != 0) << bits;
      ASSERT_EQ(half_from_float(decoded), half) << bits;
    }
  }
}

TEST(Bfloat, EveryPatternDecodesAndComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto bfloat = static_cast<std::uint16_t>(bits);
    const double expected = value_of(bits, 8, 7);
    const float decoded = float_from_bfloat(bfloat);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(decoded)) << bits;
      EXPECT_TRUE(std::isnan(float_from_bfloat(bfloat_from_float(decoded)))) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(decoded), expected) << bits;
      ASSERT_EQ(bfloat_from_float(decoded), bfloat) << bits;
    }
  }
}

// Around every half: the value itself, the tie to the next one, and the floats beside that tie.
TEST(Half, RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const double here = value_of(bits, 5, 10);
    const double next = bits == 0x7bff ? 65536.0 : value_of(bits + 1, 5, 10);
    const auto tie = static_cast<float>((here + next) / 2);
    for (const float value : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, INFINITY)}) {
      ASSERT_EQ(half_from_float(value), nearest(value, 5, 10)) << value;
      ASSERT_EQ(half_from_float(-value), nearest(-value, 5, 10)) << value;
    }
  }
}

TEST(Bfloat, RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const float tie = std::bit_cast<float>(bits << 16 | 0x8000u);
    for (const float value : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, INFINITY)}) {
      ASSERT_EQ(bfloat_from_float(value), nearest(value, 8, 7)) << value;
    }
  }
}

TEST(Half, RandomFloatsRoundToTheNearest) {
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_from_half(half_from_float(value))));
      EXPECT_TRUE(std::isnan(float_from_bfloat(bfloat_from_float(value))));
      continue;
    }
    ASSERT_EQ(half_from_float(value), nearest(value, 5, 10)) << value;
    ASSERT_EQ(bfloat_from_float(value), nearest(value, 8, 7)) << value;
  }
}

TEST(E8m0, IsAPowerOfTwo) {
  for (int bits = 0; bits < 255; ++bits) {
    EXPECT_EQ(static_cast<double>(float_from_e8m0(static_cast<std::uint8_t>(bits))), std::ldexp(1.0, bits - 127))
        << bits;
  }
  EXPECT_FALSE(std::isfinite(float_from_e8m0(255)));
}

}  // namespace
}  // namespace lathe
