// W8A8: the layout read byte by byte, what is refused, and rounding.
#include "tensor/codecs/w8a8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// A tensor as a file would have it.
PackedTensor from_file(float weight_scale, float input_scale, std::uint8_t shadow) {
  const std::int8_t values[] = {1, -2, 127, -128, 0, 5};
  const float scales[] = {weight_scale, input_scale};
  return packed_parts("blk.0.w", codec_named("W8A8"), {2, 3}, {},
                      {Bytes::copy_of(std::as_bytes(std::span(values)), "file"),
                       Bytes::copy_of(std::as_bytes(std::span(scales)), "file"),
                       Bytes::copy_of(std::as_bytes(std::span(&shadow, 1)), "file")});
}

TEST(W8a8, DecodesWhatTheLayoutSays) {
  const PackedTensor tensor = from_file(0.5f, 0.25f, 1);
  EXPECT_EQ(tensor.to_floats(), (std::vector<float>{0.5f, -1, 63.5f, -64, 0, 2.5f}));
  const W8a8Scales scales = w8a8_scales(tensor);
  EXPECT_EQ(scales.weight, 0.5f);
  EXPECT_EQ(scales.input, (W8a8Input{0.25f, true}));
  EXPECT_EQ(tensor.codec->remark(tensor), "inputs: scale 0.25, shadow on");
  EXPECT_EQ(from_file(0.5f, 0, 0).codec->remark(from_file(0.5f, 0, 0)), "inputs: a scale per row");
  EXPECT_DOUBLE_EQ(tensor.bits_per_weight(), 8.0 * (6 + 8 + 1) / 6);
}

// A slice computes as the whole: weights share their scale and inputs theirs.
TEST(W8a8, SlicesKeepTheScales) {
  const std::vector<float> x = gaussian(6 * 50, 1);
  const PackedTensor tensor = pack_w8a8("w", {6, 50}, x, {0.125f, true});
  for (const PackedTensor& slice : {tensor.rows(1, 4), tensor.columns(7, 31)}) {
    EXPECT_EQ(w8a8_scales(slice).weight, w8a8_scales(tensor).weight);
    EXPECT_EQ(w8a8_scales(slice).input, w8a8_scales(tensor).input);
  }
  const PackedTensor cut = tensor.rows(1, 4).columns(7, 31);
  const std::vector<float> values = cut.to_floats(), whole = tensor.to_floats();
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], whole[(1 + i / 24) * 50 + 7 + i % 24]);
}

TEST(W8a8, RefusesScalesThatAreNone) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  struct Bad {
    float weight, input;
    std::uint8_t shadow;
  };
  for (const Bad& bad : {Bad{nan, 1, 0},
                         {infinity, 1, 0},
                         {-1, 1, 0},
                         {1, nan, 0},
                         {1, infinity, 1},
                         {1, -0.5f, 0},
                         {1, 1e-31f, 0},
                         {1, 1, 2},
                         {1, 1, 255}}) {
    SCOPED_TRACE(fmt::format("{} {} {}", bad.weight, bad.input, bad.shadow));
    const PackedTensor tensor = from_file(bad.weight, bad.input, bad.shadow);
    std::vector<float> out(3);
    try {
      tensor.decode_row(1, out);
      FAIL() << "decoded";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("blk.0.w"), std::string::npos) << error.what();
    }
    EXPECT_THROW(tensor.codec->remark(tensor), Error);
    if (bad.shadow < 2 && bad.weight == 1) {
      EXPECT_THROW(pack_w8a8("w", {1, 1}, std::vector<float>{1}, {bad.input, false}), Error);
    }
  }
}

TEST(W8a8, RefusesOtherSizesAndParameters) {
  const Codec& codec = codec_named("w8a8");
  for (const CodecParams& params : {CodecParams{8, 0}, CodecParams{0, 32}, CodecParams{.activation_bits = 8}}) {
    EXPECT_THROW(codec.parts({2, 8}, params), Error);
    EXPECT_THROW(pack("w", codec, {2, 8}, std::vector<float>(16), params), Error);
  }
  EXPECT_THROW(codec.parts({1, kW8a8MostColumns + 1}, {}), Error);
  EXPECT_NO_THROW(codec.parts({1, kW8a8MostColumns}, {}));
  const PackedTensor whole = from_file(1, 1, 0);
  for (const std::size_t part : {0, 1, 2}) {
    std::vector<Bytes> data;
    for (const Part& p : whole.parts) data.push_back(p.data);
    data[part] = data[part].slice(0, data[part].size() - 1, "test");
    EXPECT_THROW(packed_parts("w", codec, {2, 3}, {}, data), Error);
  }
}

TEST(W8a8, TheLargestWeightFixesTheScale) {
  std::vector<float> x = gaussian(6 * 50, 3), importance(50, 1.0f);
  x[123] = -0.5f;  // ten standard deviations
  importance[7] = 1000;
  const PackedTensor tensor = pack("w", codec_named("W8A8"), {6, 50}, x, {}, importance);
  const float scale = w8a8_scales(tensor).weight;
  EXPECT_EQ(scale, 0.5f / 127);
  EXPECT_EQ(w8a8_scales(tensor).input, W8a8Input{});
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::int8_t value = w8a8_row(tensor, i / 50)[i % 50];
    EXPECT_NEAR(value, x[i] / scale, 0.5001) << i;
    EXPECT_EQ(tensor.to_floats()[i], scale * static_cast<float>(value));
  }
  EXPECT_EQ(w8a8_row(tensor, 2)[23], -127);
}

TEST(W8a8, BearsWeightsOfAnySize) {
  for (const float size : {0.0f, 1e-40f, 1e-30f, 1e30f, 3e38f}) {
    std::vector<float> x(64);
    for (std::size_t i = 0; i < 64; ++i) x[i] = size * ((static_cast<float>(i) - 20) / 44);
    const std::vector<float> y = pack("w", codec_named("W8A8"), {2, 32}, x).to_floats();
    for (std::size_t i = 0; i < 64; ++i) EXPECT_NEAR(y[i], x[i], size == 1e-40f ? 1e-40 : size / 200) << size;
  }
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> x(64, 0.5f);
    x[7] = bad;
    EXPECT_THROW(pack("w", codec_named("W8A8"), {2, 32}, x), Error);
  }
  EXPECT_TRUE(pack("w", codec_named("W8A8"), {0, 32}, {}).to_floats().empty());
}

}  // namespace
}  // namespace lathe
