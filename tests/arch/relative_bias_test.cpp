// Buckets of relative positions, against boundaries worked out by hand from the definition (Raffel et al. 2020, section
// 2.1) and the published defaults of 32 buckets up to a distance of 128.
#include "arch/relative_bias.h"

#include <gtest/gtest.h>

namespace lathe::arch {
namespace {

const RelativeBias kPublished{32, 128};

// Causal: 16 single distances, then 16 buckets that begin at 16 * 8^(i / 16), rounded up.
TEST(RelativeBuckets, OfACausalDecoder) {
  for (int back = 0; back < 16; ++back) EXPECT_EQ(relative_bucket(-back, kPublished, false), back);
  const std::int64_t begins[] = {16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113};
  for (std::uint32_t i = 0; i < 16; ++i) {
    EXPECT_EQ(relative_bucket(-begins[i], kPublished, false), 16 + i) << begins[i];
    if (i > 0) {
      EXPECT_EQ(relative_bucket(1 - begins[i], kPublished, false), 15 + i) << begins[i];
    }
  }
  EXPECT_EQ(relative_bucket(-128, kPublished, false), 31u);
  EXPECT_EQ(relative_bucket(-1000000, kPublished, false), 31u);
  EXPECT_EQ(relative_bucket(1, kPublished, false), 0u);
  EXPECT_EQ(relative_bucket(500, kPublished, false), 0u);
}

// Bidirectional: 8 single distances on either side, then 8 buckets that begin at 8 * 16^(i / 8), rounded up: whole
// numbers at 8, 16, 32 and 64.
TEST(RelativeBuckets, OfAnEncoder) {
  const std::int64_t begins[] = {8, 12, 16, 23, 32, 46, 64, 91};
  for (const std::int64_t sign : {-1, 1}) {
    const std::uint32_t first = sign > 0 ? 16 : 0;
    for (int away = 1; away < 8; ++away) EXPECT_EQ(relative_bucket(sign * away, kPublished, true), first + away);
    for (std::uint32_t i = 0; i < 8; ++i) {
      EXPECT_EQ(relative_bucket(sign * begins[i], kPublished, true), first + 8 + i) << begins[i];
      EXPECT_EQ(relative_bucket(sign * (begins[i] - 1), kPublished, true), first + 7 + i) << begins[i];
    }
    EXPECT_EQ(relative_bucket(sign * 4000, kPublished, true), first + 15);
  }
  EXPECT_EQ(relative_bucket(0, kPublished, true), 0u);
}

TEST(RelativeBuckets, SpreadOutByDistance) {
  const RelativeBias small{8, 20};
  std::vector<float> table;  // [8, 3]: bucket + head / 10
  for (int bucket = 0; bucket < 8; ++bucket) {
    for (int head = 0; head < 3; ++head) table.push_back(static_cast<float>(bucket) + 0.1f * static_cast<float>(head));
  }
  for (const bool bidirectional : {false, true}) {
    const std::vector<float> spread = biases_by_distance(table, 3, small, bidirectional);
    ASSERT_EQ(spread.size(), 3u * 41);
    for (std::int64_t distance = -25; distance <= 25; ++distance) {
      const std::int64_t held = std::clamp<std::int64_t>(distance, -20, 20);
      const auto bucket = static_cast<float>(relative_bucket(distance, small, bidirectional));
      for (int head = 0; head < 3; ++head)
        EXPECT_EQ(spread[static_cast<std::size_t>(head * 41 + 20 + held)], bucket + 0.1f * static_cast<float>(head));
    }
  }
}

}  // namespace
}  // namespace lathe::arch
