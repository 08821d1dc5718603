// Tokens kept of many: which, how many, and that the way they come in does not matter.
#include "quant/token_sample.h"

#include <gtest/gtest.h>

namespace lathe::quant {
namespace {

// Tokens of two numbers, {t, -t}.
std::vector<float> sample_of(std::size_t tokens) {
  TokenSample sample;
  for (std::size_t t = 0; t < tokens; ++t) {
    const float token[] = {static_cast<float>(t), -static_cast<float>(t)};
    sample.add(token);
  }
  return sample.take();
}

TEST(TokenSample, KeepsEvenlySpreadTokens) {
  for (const std::size_t tokens : {0, 1, 100, 128, 129, 1000, 65537}) {
    const std::vector<float> kept = sample_of(tokens);
    const std::size_t count = kept.size() / 2;
    std::size_t stride = 1;
    while ((tokens + stride - 1) / stride > TokenSample::kMost) stride *= 2;
    ASSERT_EQ(count, (tokens + stride - 1) / stride) << tokens;
    EXPECT_LE(count, TokenSample::kMost);
    EXPECT_GE(count, std::min(tokens, TokenSample::kMost / 2));
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(kept[2 * i], static_cast<float>(i * stride));
      EXPECT_EQ(kept[2 * i + 1], -kept[2 * i]);
    }
  }
}

}  // namespace
}  // namespace lathe::quant
