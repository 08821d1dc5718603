// Properties every codec has by itself: round-trip error bounds in closed form, special rows, values that cannot be
// stored, determinism, and what the table promises.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/gaussian.h"
#include "tensor/packed_tensor.h"
#include "tensor/params.h"

namespace lathe {
namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<const Codec*> encoders() {
  std::vector<const Codec*> found;
  for (const Codec* codec : all_codecs()) {
    if (codec->can_encode()) found.push_back(codec);
  }
  return found;
}

TEST(Codecs, TheTableIsComplete) {
  std::set<std::string_view> names;
  std::set<int> types;
  for (const Codec* codec : all_codecs()) {
    EXPECT_TRUE(names.insert(codec->name()).second) << codec->name() << " is there twice";
    EXPECT_FALSE(codec->description().empty()) << codec->name();
    EXPECT_EQ(find_codec(codec->name()), codec);
    EXPECT_EQ(&codec_named(codec->name()), codec);
    const BlockFormat* format = block_format(*codec);
    if (format == nullptr) continue;
    EXPECT_EQ(codec->column_alignment({}), format->block_size);
    EXPECT_NE(format->decode, nullptr);
    EXPECT_EQ(codec->can_encode(), format->encode != nullptr);
    if (format->ggml_type < 0) continue;
    EXPECT_TRUE(types.insert(format->ggml_type).second) << codec->name() << " repeats a type number";
    EXPECT_EQ(find_codec_by_ggml_type(format->ggml_type), codec);
  }
  const std::set<int> gguf = {0,  1,  2,  3,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                              20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 34, 35, 39, 40, 41, 42};
  EXPECT_EQ(types, gguf);
  for (const int unused : {-1, 4, 5, 31, 36, 43, 1000}) EXPECT_EQ(find_codec_by_ggml_type(unused), nullptr);
}

TEST(Codecs, EveryDTypeHasAPlainCodecOfItsName) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const auto dtype = static_cast<DType>(i);
    const Codec* codec = find_codec(dtype_name(dtype));
    ASSERT_NE(codec, nullptr) << dtype_name(dtype);
    const std::vector<PartSpec> parts = codec->parts({3, 5}, {});
    ASSERT_EQ(parts.size(), 1u);
    EXPECT_EQ(parts[0].dtype, dtype);
    EXPECT_EQ(parts[0].shape, (Shape{3, 5}));
    EXPECT_EQ(block_format(*codec)->block_bytes, dtype_bytes(dtype));
  }
}

TEST(Codecs, NamesIgnoreCaseAndMistakesNameTheNearest) {
  EXPECT_EQ(find_codec("q4_k"), find_codec("Q4_K"));
  EXPECT_EQ(find_codec("Q4"), nullptr);
  const std::string message = message_of([] { codec_named("Q4K"); });
  EXPECT_NE(message.find("\"Q4K\""), std::string::npos) << message;
  EXPECT_NE(message.find("nearest names are Q4_K"), std::string::npos) << message;
  EXPECT_NE(message_of([] { codec_named("fp16"); }).find("F16"), std::string::npos);
  EXPECT_NE(message_of([] { codec_named(std::string(1 << 20, 'Q')); }).find("nearest"), std::string::npos);
}

TEST(Codecs, PlainTypesDecodeEveryKindOfNumber) {
  const auto decode = [](std::string_view name, auto element) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&element);
    return packed_blocks("x", codec_named(name), Shape{}, Bytes::copy_of(std::span(bytes, sizeof(element)), "test"))
        .to_floats()
        .at(0);
  };
  EXPECT_EQ(decode("F64", -0.1), -0.1f);
  EXPECT_EQ(decode("F32", 1e-42f), 1e-42f);
  EXPECT_EQ(decode("F16", std::uint16_t{0xc000}), -2.0f);
  EXPECT_EQ(decode("BF16", std::uint16_t{0x3fc0}), 1.5f);
  EXPECT_EQ(decode("I64", std::int64_t{-9007199254740993}), -9007199254740992.0f);
  EXPECT_EQ(decode("I32", std::int32_t{-7}), -7.0f);
  EXPECT_EQ(decode("I16", std::int16_t{-300}), -300.0f);
  EXPECT_EQ(decode("I8", std::int8_t{-128}), -128.0f);
  EXPECT_EQ(decode("U64", std::uint64_t{1} << 63), 0x1p63f);
  EXPECT_EQ(decode("U32", std::uint32_t{4000000000u}), 4e9f);
  EXPECT_EQ(decode("U16", std::uint16_t{65535}), 65535.0f);
  EXPECT_EQ(decode("U8", std::uint8_t{255}), 255.0f);
  EXPECT_EQ(decode("BOOL", std::uint8_t{2}), 1.0f);
  EXPECT_EQ(decode("BOOL", std::uint8_t{0}), 0.0f);
}

// Both conversions of halves in the project agree on every one of them.
TEST(Codecs, EveryHalfDecodesAsTheScalarConversionSays) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const auto bytes = Bytes::copy_of(std::as_bytes(std::span(halves)), "test");
  const std::vector<float> floats = packed_blocks("x", codec_named("F16"), {65536}, bytes).to_floats();
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const float expected = float_from_half(halves[i]);
    ASSERT_TRUE(std::isnan(expected)
                    ? std::isnan(floats[i])
                    : std::bit_cast<std::uint32_t>(expected) == std::bit_cast<std::uint32_t>(floats[i]))
        << i;
  }
}

TEST(Codecs, FloatsSurviveUnchanged) {
  const std::vector<float> values = {0.0f, -0.0f, 1.0f, -3.25f, 1e-40f, 3e38f, 0x1p-24f};
  for (const char* name : {"F32", "F64"}) {
    const std::vector<float> back = pack("x", codec_named(name), {7}, values).to_floats();
    EXPECT_EQ(std::memcmp(back.data(), values.data(), values.size() * sizeof(float)), 0) << name;
  }
}

// How far a weight may move, as a share of the largest magnitude in its block (or super-block, for the k-quants). For
// symmetric formats of n levels a step is max / (n / 2), for formats with a minimum range / (n - 1); half a step, or a
// whole one where the weight farthest up has no level of its own, plus the rounding of the half scales.
TEST(Codecs, RoundTripErrorsStayInsideTheirBounds) {
  struct Bound {
    const char* name;
    std::size_t block;
    double share_of_range;  // of max - min
    double share_of_magnitude;
  };
  const Bound bounds[] = {
      {"F16", 1, 0, 0x1p-11},
      {"BF16", 1, 0, 0x1p-8},
      {"Q8_0", 32, 0, 0.5 / 127 + 0x1p-11},
      {"I8_GROUP", 32, 0, 0.5 / 127 + 0x1p-22},
      {"W8A8", 4 * 768, 0, 0.5 / 127 + 0x1p-22},
      {"Q4_0", 32, 0, 1.0 / 8 + 0x1p-11},
      {"Q5_0", 32, 0, 1.0 / 16 + 0x1p-11},
      {"Q4_1", 32, 0.5 / 15, 0x1p-9},
      {"Q5_1", 32, 0.5 / 31, 0x1p-9},
      {"Q4_K", 256, 1.0 / 15, 2.0 / 63},
      {"Q5_K", 256, 1.0 / 31, 2.0 / 63},
      {"Q6_K", 256, 0, 1.0 / 32 + 2.0 / 128},
      {"IQ4_NL", 32, 0, 0.2},
  };
  for (const Bound& bound : bounds) {
    for (unsigned seed = 1; seed <= 4; ++seed) {
      std::vector<float> x = gaussian(4 * 768, 0.02f, seed);
      for (std::size_t i = 0; i < x.size(); i += 97) x[i] *= 7.0f;
      const std::vector<float> y =
          pack("x", codec_named(bound.name), {4, 768}, x, params_of(codec_named(bound.name))).to_floats();
      for (std::size_t begin = 0; begin < x.size(); begin += bound.block) {
        float low = x[begin], high = x[begin];
        for (std::size_t i = begin; i < begin + bound.block; ++i) {
          low = std::min(low, x[i]);
          high = std::max(high, x[i]);
        }
        const double limit = bound.share_of_range * (static_cast<double>(high) - low) +
                             bound.share_of_magnitude * std::max(std::abs(low), std::abs(high)) + 0x1p-25;
        for (std::size_t i = begin; i < begin + bound.block; ++i) {
          ASSERT_LE(std::abs(static_cast<double>(x[i]) - y[i]), limit) << bound.name << " weight " << i;
        }
      }
    }
  }
}

// Decoded weights are points of the format, so packing them again cannot move them far; for the formats whose extremes
// fix the scale it does not move them at all.
TEST(Codecs, PackingAgainIsStable) {
  for (const char* name : {"F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "TQ1_0", "TQ2_0"}) {
    const std::vector<float> once = pack("x", codec_named(name), {2, 512}, gaussian(1024, 1.0f, 9)).to_floats();
    const std::vector<float> twice = pack("x", codec_named(name), {2, 512}, once).to_floats();
    for (std::size_t i = 0; i < once.size(); ++i) {
      ASSERT_NEAR(once[i], twice[i], 1e-3 * std::abs(once[i])) << name << " weight " << i;
    }
  }
}

TEST(Codecs, ZerosAndConstantsAndTinyRowsArePackedWell) {
  for (const Codec* codec : encoders()) {
    const std::vector<float> zeros(512, 0.0f);
    EXPECT_EQ(pack("x", *codec, {512}, zeros, params_of(*codec)).to_floats(), zeros) << codec->name();

    for (const float constant : {0.375f, -0.375f}) {
      const std::vector<float> values(512, constant);
      for (const float value : pack("x", *codec, {512}, values, params_of(*codec)).to_floats()) {
        ASSERT_NEAR(value, constant, 0.04f) << codec->name();
      }
    }
    // Far below the smallest 16-bit float: everything may become zero, nothing may become anything else.
    std::vector<float> tiny = gaussian(512, 1e-40f, 3);
    for (const float value : pack("x", *codec, {512}, tiny, params_of(*codec)).to_floats()) {
      ASSERT_LE(std::abs(value), 1e-38f) << codec->name();
    }
  }
}

TEST(Codecs, TernaryModelsComeThroughExactly) {
  std::mt19937 random(5);
  std::vector<float> x(1024);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scale = i < 512 ? 0.125f : 0.75f;
    x[i] = scale * (static_cast<float>(random() % 3) - 1.0f);
  }
  for (const char* name : {"TQ1_0", "TQ2_0", "Q2_0", "Q2_K", "Q8_0"}) {
    const std::vector<float> y = pack("x", codec_named(name), {2, 512}, x).to_floats();
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 0.002f * std::abs(x[i])) << name << " " << i;
  }
}

TEST(Codecs, ValuesThatAreNotNumbersAreRefused) {
  for (const Codec* codec : encoders()) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> x = gaussian(1024, 1.0f, 2);
      x[512 + 37] = bad;
      const std::string message = message_of([&] { pack("blk.3.attn_q", *codec, {2, 512}, x, params_of(*codec)); });
      EXPECT_NE(message.find("\"blk.3.attn_q\""), std::string::npos) << codec->name() << ": " << message;
      EXPECT_NE(message.find("row 1, column 37"), std::string::npos) << codec->name() << ": " << message;
    }
  }
}

// Overflow of a 16-bit element or scale is an error that names the value; the largest values that fit are accepted.
TEST(Codecs, ValuesTooLargeForAFormatAreRefused) {
  const auto pack_with = [](const Codec& codec, float value) {
    std::vector<float> x = gaussian(1024, 1.0f, 2);
    x[512 + 37] = value;
    return pack("w", codec, {2, 512}, x, params_of(codec)).to_floats()[512 + 37];
  };
  for (const Codec* codec : encoders()) {
    const std::string_view name = codec->name();
    if (name == "F32" || name == "F64" || name == "I8_GROUP" || name == "W8A8") {
      EXPECT_NEAR(pack_with(*codec, 3e38f), 3e38f, 1e36f) << name;
      continue;
    }
    EXPECT_NO_THROW(pack_with(*codec, 32000.0f)) << name;
    for (const float value : {3.4e38f, -3.4e38f}) {
      if (name == "MXFP4" || (name == "BF16" && value < 3.39e38f)) continue;  // both reach 2^128 less half a step
      const std::string message = message_of([&] { pack_with(*codec, value); });
      EXPECT_NE(message.find("row 1, column 37"), std::string::npos) << name << ": " << message;
      EXPECT_NE(message.find("too large for " + std::string(name)), std::string::npos) << name << ": " << message;
    }
  }
  EXPECT_EQ(pack_with(codec_named("F16"), 65504.0f), 65504.0f);
  EXPECT_EQ(pack_with(codec_named("F16"), 65519.0f), 65504.0f);
  EXPECT_THROW(pack_with(codec_named("F16"), 65520.0f), Error);
  EXPECT_THROW(pack_with(codec_named("F16"), -1e5f), Error);
  EXPECT_NO_THROW(pack_with(codec_named("BF16"), 3.38e38f));
  EXPECT_THROW(pack_with(codec_named("BF16"), std::numeric_limits<float>::max()), Error);
}

TEST(Codecs, FormatsThatOnlyDecodeSaySo) {
  int checked = 0;
  for (const Codec* codec : all_codecs()) {
    if (codec->can_encode()) continue;
    const std::string message = message_of([&] { pack("w", *codec, {256}, std::vector<float>(256, 1.0f)); });
    EXPECT_NE(message.find("can be read but not written"), std::string::npos) << codec->name() << ": " << message;
    ++checked;
  }
  EXPECT_GE(checked, 15);
}

TEST(Codecs, ImportanceIsChecked) {
  const std::vector<float> x = gaussian(1024, 1.0f, 4);
  for (const Codec* codec : encoders()) {
    std::vector<float> importance(512, 1.0f);
    const auto pack_it = [&] { return pack("w", *codec, {2, 512}, x, params_of(*codec), importance); };
    EXPECT_NO_THROW(pack_it());
    importance[7] = -1.0f;
    EXPECT_THROW(pack_it(), Error) << codec->name();
    importance[7] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(pack_it(), Error) << codec->name();
    importance.resize(511);
    EXPECT_THROW(pack_it(), Error) << codec->name();
  }
}

// Only the proportions of the importance matter, and weights without importance are still packed sensibly.
TEST(Codecs, ImportanceMayHaveAnyUnitAndMayBeZero) {
  const std::vector<float> x = gaussian(1024, 0.02f, 6);
  std::vector<float> importance = gaussian(512, 1.0f, 7);
  for (float& weight : importance) weight = weight * weight;
  for (const Codec* codec : encoders()) {
    const auto packed = [&](float factor) {
      std::vector<float> scaled = importance;
      for (float& weight : scaled) weight *= factor;
      return pack("w", *codec, {2, 512}, x, params_of(*codec), scaled).to_floats();
    };
    EXPECT_EQ(packed(1.0f), packed(0x1p-60f)) << codec->name();
    EXPECT_EQ(packed(1.0f), packed(0x1p60f)) << codec->name();

    std::vector<float> some(512, 0.0f);
    for (int i = 0; i < 64; ++i) some[i] = 1.0f;
    for (const std::vector<float>& weights : {std::vector<float>(512, 0.0f), some}) {
      const std::vector<float> y = pack("w", *codec, {2, 512}, x, params_of(*codec), weights).to_floats();
      for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 0.12f) << codec->name();
    }
  }
}

// Rows do not depend on their neighbours, on the thread, or on the run.
TEST(Codecs, RowsAreEncodedAloneAndDeterministically) {
  constexpr std::uint64_t kRows = 6, kCols = 768;
  const std::vector<float> x = gaussian(kRows * kCols, 0.1f, 8);
  for (const Codec* codec : encoders()) {
    const BlockFormat* format = block_format(*codec);
    if (format == nullptr) continue;
    const PackedTensor whole = pack("w", *codec, {kRows, kCols}, x);
    const std::uint64_t stride = row_bytes(*format, kCols, "test");
    std::vector<std::byte> by_threads(kRows * stride);
    std::vector<std::thread> threads;
    for (std::uint64_t row = 0; row < kRows; ++row) {
      threads.emplace_back([&, row] {
        encode_rows(*format, std::span(x).subspan(row * kCols, kCols), kCols, {},
                    std::span(by_threads).subspan(row * stride, stride), "w");
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(whole.bytes(), by_threads.size());
    EXPECT_EQ(std::memcmp(whole.part("blocks").data(), by_threads.data(), by_threads.size()), 0) << codec->name();
  }
}

TEST(Codecs, EncodeRowsChecksItsSizes) {
  const BlockFormat& format = *block_format(codec_named("Q8_0"));
  std::vector<std::byte> bytes(68);
  const std::vector<float> x(64, 1.0f);
  EXPECT_NO_THROW(encode_rows(format, x, 64, {}, bytes, "w"));
  EXPECT_NO_THROW(encode_rows(format, x, 32, {}, bytes, "w"));
  EXPECT_THROW(encode_rows(format, x, 48, {}, bytes, "w"), Error);
  EXPECT_THROW(encode_rows(format, std::span(x).first(63), 32, {}, bytes, "w"), Error);
  EXPECT_THROW(encode_rows(format, x, 64, {}, std::span(bytes).first(67), "w"), Error);
  EXPECT_THROW(encode_rows(format, x, 0, {}, bytes, "w"), Error);
}

}  // namespace
}  // namespace lathe
