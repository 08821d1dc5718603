// Tensors over bytes: sizes are checked to the byte, slices share memory where they can, and every codec's rows and
// columns come out as its whole does.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "tensor/activation_format.h"
#include "tensor/linear.h"
#include "tensor/packed_tensor.h"
#include "tensor/params.h"

namespace lathe {
namespace {

constexpr int kGroup = 64;
constexpr std::uint64_t kRows = 5, kCols = 768;

// What the part may hold at byte `at`: all but an order of columns, W8A8 and DGQ may hold any `byte` (some decode to
// NaN, which compares by bits below).
std::byte allowed_byte(const Codec& codec, const PartSpec& spec, std::size_t at, std::byte byte) {
  const std::string_view part = spec.name;
  if (part == "order") return static_cast<std::byte>((spec.shape.elements() - 1 - at / 2) >> at % 2 * 8);  // backwards
  if (codec.name() == "W8A8") {
    if (part == "scales") return (byte & std::byte{0x3f}) | std::byte{0x20};  // floats from 2^-63 to 2
    return part == "shadow" ? byte & std::byte{1} : byte;
  }
  if (codec.name() != "DGQ") return byte;
  if (part == "zeros") return byte & std::byte{15};
  if (part == "scales") return (byte & std::byte{7}) | std::byte{1};  // up to 7 * 15
  return byte;
}

PackedTensor random_tensor(const Codec& codec, const Shape& shape) {
  std::mt19937 random(11);
  std::vector<Bytes> data;
  for (const PartSpec& part : codec.parts(shape, params_of(codec, kGroup))) {
    std::vector<std::byte> bytes(part.shape.elements() * dtype_bytes(part.dtype));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = allowed_byte(codec, part, i, static_cast<std::byte>(random()));
    }
    data.push_back(Bytes::copy_of(bytes, "random"));
  }
  return packed_parts("w", codec, shape, params_of(codec, kGroup), data);
}

void expect_same_bits(std::span<const float> a, std::span<const float> b, std::string_view what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_EQ(a[i], b[i]) << what << " weight " << i;
  }
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(PackedTensor, EveryCodecDecodesPiecesAsItDecodesTheWhole) {
  for (const Codec* codec : all_codecs()) {
    const PackedTensor tensor = random_tensor(*codec, {kRows, kCols});
    const std::vector<float> whole = tensor.to_floats();
    const std::uint64_t step = codec->column_alignment(tensor.params);
    for (std::uint64_t row = 0; row < kRows; ++row) {
      for (std::uint64_t begin = 0; begin < kCols; begin += step * (1 + begin % 3)) {
        std::vector<float> piece(std::min(step, kCols - begin));
        codec->decode_row(tensor, row, begin, piece);
        expect_same_bits(piece, std::span(whole).subspan(row * kCols + begin, piece.size()), codec->name());
      }
    }
  }
}

TEST(PackedTensor, RowSlicesShareMemoryAndDecodeTheSame) {
  for (const Codec* codec : all_codecs()) {
    const PackedTensor tensor = random_tensor(*codec, {kRows, kCols});
    const std::vector<float> whole = tensor.to_floats();
    const PackedTensor slice = tensor.rows(1, 4);
    EXPECT_EQ(slice.shape, (Shape{3, kCols}));
    if (codec->rows_stand_alone()) {
      EXPECT_DOUBLE_EQ(slice.bits_per_weight(), tensor.bits_per_weight());
    }
    expect_same_bits(slice.to_floats(), std::span(whole).subspan(kCols, 3 * kCols), codec->name());
    for (std::size_t i = 0; i < slice.parts.size(); ++i) {
      const Bytes &part = slice.parts[i].data, &source = tensor.parts[i].data;
      EXPECT_TRUE(part.data() >= source.data() && part.data() < source.data() + source.size()) << codec->name();
      EXPECT_TRUE(part.data() > source.data() || !codec->rows_stand_alone()) << codec->name();
      EXPECT_EQ(part.owner(), source.owner()) << codec->name();
    }
    EXPECT_EQ(tensor.rows(2, 2).to_floats().size(), 0u);
    EXPECT_THROW(tensor.rows(3, 2), Error);
    EXPECT_THROW(tensor.rows(0, kRows + 1), Error);
  }
}

TEST(PackedTensor, ColumnSlicesDecodeTheSame) {
  for (const Codec* codec : all_codecs()) {
    const PackedTensor tensor = random_tensor(*codec, {kRows, kCols});
    const std::vector<float> whole = tensor.to_floats();
    const std::uint64_t step = codec->column_alignment(tensor.params);
    const std::uint64_t first = step < kCols ? step : 0;  // SPQR_ORDERED: whole rows only
    for (const auto& [begin, end] :
         {std::pair{first, std::min(2 * step, kCols)}, {first, kCols}, {std::uint64_t{0}, kCols}}) {
      const PackedTensor slice = tensor.columns(begin, end);
      EXPECT_EQ(slice.shape, (Shape{kRows, end - begin}));
      const std::vector<float> floats = slice.to_floats();
      for (std::uint64_t row = 0; row < kRows; ++row) {
        expect_same_bits(std::span(floats).subspan(row * (end - begin), end - begin),
                         std::span(whole).subspan(row * kCols + begin, end - begin), codec->name());
      }
    }
    if (step > 1) {
      EXPECT_THROW(tensor.columns(1, kCols), Error) << codec->name();
      EXPECT_THROW(tensor.columns(0, step + 1), Error) << codec->name();
    }
    EXPECT_THROW(tensor.columns(0, kCols + step), Error) << codec->name();
    EXPECT_THROW(tensor.columns(2 * step, step), Error) << codec->name();
    // One row is contiguous: nothing is copied (but of bit planes, which lie one behind the other).
    const PackedTensor row = tensor.rows(2, 3);
    EXPECT_EQ(row.columns(first, kCols).parts.back().data.owner(), tensor.parts.back().data.owner()) << codec->name();
  }
}

TEST(PackedTensor, ExpertsAndVectorsAndScalarsAreRowsToo) {
  const Codec& q8 = codec_named("Q8_0");
  const PackedTensor experts = random_tensor(q8, {3, 4, 64});
  EXPECT_EQ(experts.shape.rows(), 12u);
  EXPECT_EQ(experts.parts[0].spec.shape, (Shape{3, 4, 68}));
  const std::vector<float> whole = experts.to_floats();
  const PackedTensor second = experts.rows(4, 8);
  EXPECT_EQ(second.shape, (Shape{4, 64}));
  expect_same_bits(second.to_floats(), std::span(whole).subspan(4 * 64, 4 * 64), "experts");
  EXPECT_EQ(experts.columns(32, 64).shape, (Shape{3, 4, 32}));

  const PackedTensor vector = random_tensor(q8, {64});
  EXPECT_EQ(vector.rows(0, 1).shape, Shape{64});
  EXPECT_EQ(vector.columns(32, 64).shape, Shape{32});

  const float value = 2.5f;
  const PackedTensor scalar = pack("s", codec_named("F32"), Shape{}, std::span(&value, 1));
  EXPECT_EQ(scalar.to_floats(), std::vector<float>{2.5f});
  EXPECT_EQ(scalar.parts[0].spec.shape, Shape{});
  EXPECT_THROW(pack("s", q8, Shape{}, std::span(&value, 1)), Error);
}

TEST(PackedTensor, EmptyTensorsAreFine) {
  for (const Shape& shape : {Shape{0, 32}, Shape{4, 0}, Shape{0}}) {
    const PackedTensor tensor = pack("e", codec_named("Q8_0"), shape, {});
    EXPECT_EQ(tensor.bytes(), 0u) << shape.text();
    EXPECT_EQ(tensor.bits_per_weight(), 0.0);
    EXPECT_TRUE(tensor.to_floats().empty());
    EXPECT_TRUE(repack(tensor, codec_named("F16")).to_floats().empty());
  }
  EXPECT_TRUE(PackedTensor{}.empty());
}

TEST(PackedTensor, BytesMustBeExactlyThoseTheShapeNeeds) {
  for (const Codec* codec : all_codecs()) {
    const BlockFormat* format = block_format(*codec);
    if (format == nullptr) continue;
    const Shape shape = {3, format->block_size * 2};
    const std::vector<std::byte> bytes(6 * format->block_bytes + 1);
    const auto with = [&](std::size_t size) {
      return packed_blocks("blk.0.w", *codec, shape, Bytes::copy_of(std::span(bytes).first(size), "model.gguf"));
    };
    EXPECT_EQ(with(6 * format->block_bytes).bytes(), 6 * format->block_bytes);
    for (const std::size_t wrong : {std::size_t{0}, bytes.size() - 2, bytes.size()}) {
      const std::string message = message_of([&] { with(wrong); });
      EXPECT_NE(message.find("model.gguf"), std::string::npos) << message;
      EXPECT_NE(message.find("blk.0.w"), std::string::npos) << message;
      EXPECT_NE(message.find(std::to_string(6 * format->block_bytes)), std::string::npos) << message;
    }
  }
}

TEST(PackedTensor, RowsThatDoNotDivideIntoBlocksAreRefused) {
  for (const Codec* codec : all_codecs()) {
    const BlockFormat* format = block_format(*codec);
    if (format == nullptr || format->block_size == 1) continue;
    const Shape shape = {2, format->block_size + 1};
    const std::string message = message_of([&] { codec->parts(shape, {}); });
    EXPECT_NE(message.find("do not divide"), std::string::npos) << message;
    EXPECT_NE(message.find(codec->name()), std::string::npos) << message;
    EXPECT_THROW(packed_blocks("w", *codec, shape, Bytes()), Error);
    if (codec->can_encode()) {
      EXPECT_THROW(pack("w", *codec, shape, std::vector<float>(shape.elements())), Error);
    }
  }
}

TEST(PackedTensor, SizesThatOverflowAreRefused) {
  const std::uint64_t huge = std::uint64_t{1} << 62;
  EXPECT_THROW(codec_named("F64").parts({huge}, {}), Error);
  EXPECT_THROW(codec_named("F32").parts({4, huge / 2}, {}), Error);
  EXPECT_THROW(packed_blocks("w", codec_named("F32"), {huge, 1}, Bytes()), Error);
  EXPECT_THROW(pack("w", codec_named("F64"), {huge, 1}, {}), Error);
}

// A file may put its data anywhere; kernels may still read blocks through their structs.
TEST(PackedTensor, BytesAtOddAddressesMove) {
  for (const Codec* codec : all_codecs()) {
    const std::vector<PartSpec> specs = codec->parts({4, kCols}, params_of(*codec, kGroup));
    std::vector<Bytes> aligned, odd;
    for (const PartSpec& part : specs) {
      const std::uint64_t size = part.shape.elements() * dtype_bytes(part.dtype);
      std::vector<std::byte> buffer(size + 1);
      for (std::size_t i = 0; i < size; ++i) {
        buffer[i + 1] = allowed_byte(*codec, part, i, static_cast<std::byte>(i * 37));
      }
      const Bytes owned = Bytes::copy_of(buffer, "file");
      odd.push_back(owned.slice(1, size, "part"));
      aligned.push_back(Bytes::copy_of(odd.back().span(), "file"));
    }
    const PackedTensor a = packed_parts("w", *codec, {4, kCols}, params_of(*codec, kGroup), aligned);
    const PackedTensor b = packed_parts("w", *codec, {4, kCols}, params_of(*codec, kGroup), odd);
    expect_same_bits(a.to_floats(), b.to_floats(), codec->name());
    const BlockFormat* format = block_format(*codec);
    const std::uint64_t bytes = format == nullptr ? 1 : format->block_bytes;
    if (bytes % 2 == 0) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.parts[0].data.data()) % 2, 0u) << codec->name();
    }
    EXPECT_EQ(a.parts[0].data.data(), aligned[0].data()) << codec->name() << " copies aligned bytes";
  }
}

TEST(PackedTensor, BadRequestsForRowsAreErrors) {
  const PackedTensor tensor = random_tensor(codec_named("Q4_0"), {2, 64});
  std::vector<float> out(64);
  EXPECT_NO_THROW(tensor.decode_row(1, out));
  EXPECT_THROW(tensor.decode_row(2, out), Error);
  EXPECT_THROW(tensor.codec->decode_row(tensor, 0, 32, out), Error);
  EXPECT_THROW(tensor.codec->decode_row(tensor, 0, 16, std::span(out).first(32)), Error);
  EXPECT_THROW(tensor.codec->decode_row(tensor, 0, 0, std::span(out).first(33)), Error);
  EXPECT_THROW(tensor.codec->decode_row(tensor, std::numeric_limits<std::uint64_t>::max(), 0, out), Error);
  EXPECT_THROW(tensor.codec->decode_row(tensor, 0, std::numeric_limits<std::uint64_t>::max() - 31, out), Error);
  EXPECT_THROW(tensor.part("scales"), Error);

  PackedTensor damaged = tensor;
  damaged.parts[0].data = damaged.parts[0].data.slice(0, 40, "test");
  EXPECT_THROW(damaged.to_floats(), Error);
}

TEST(PackedTensor, RepackingGoesThroughFloats) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> x(8 * 512);
  for (float& value : x) value = normal(random);
  const PackedTensor original = pack("w", codec_named("F32"), {8, 512}, x);
  for (const Codec* codec : all_codecs()) {
    if (!codec->can_encode()) continue;
    const PackedTensor direct = pack("w", *codec, {8, 512}, x, params_of(*codec, kGroup));
    const PackedTensor through = repack(original, *codec, params_of(*codec, kGroup));
    EXPECT_EQ(through.name, "w");
    EXPECT_EQ(through.codec, codec);
    EXPECT_EQ(through.shape, original.shape);
    EXPECT_EQ(direct.to_floats(), through.to_floats()) << codec->name();
    EXPECT_EQ(repack(direct, codec_named("F32")).to_floats(), direct.to_floats()) << codec->name();
  }
  const PackedTensor same = repack(original, codec_named("F32"));
  EXPECT_EQ(same.part("blocks").data(), original.part("blocks").data());
  EXPECT_THROW(repack(original, codec_named("IQ2_XXS")), Error);
  EXPECT_THROW(repack(pack("w", codec_named("F32"), {8, 500}, std::span(x).first(4000)), codec_named("Q4_K")), Error);
}

TEST(PackedTensor, EncodingNeedsAsManyValuesAsTheShapeHas) {
  for (const Codec* codec : all_codecs()) {
    if (!codec->can_encode()) continue;
    EXPECT_THROW(pack("w", *codec, {2, 256}, std::vector<float>(511), params_of(*codec, kGroup)), Error)
        << codec->name();
    EXPECT_THROW(pack("w", *codec, {2, 256}, std::vector<float>(513), params_of(*codec, kGroup)), Error)
        << codec->name();
  }
}

TEST(PackedTensor, BitsPerWeightAreThoseOfTheFormat) {
  const std::pair<const char*, double> expected[] = {
      {"F32", 32},       {"Q8_0", 8.5},   {"Q4_0", 4.5},    {"Q2_K", 2.625},   {"Q3_K", 3.4375},
      {"Q4_K", 4.5},     {"Q5_K", 5.5},   {"Q6_K", 6.5625}, {"IQ1_S", 1.5625}, {"IQ2_XXS", 2.0625},
      {"TQ1_0", 1.6875}, {"MXFP4", 4.25}, {"NVFP4", 4.5},   {"I8_GROUP", 8.5}};
  for (const auto& [name, bits] : expected) {
    EXPECT_DOUBLE_EQ(random_tensor(codec_named(name), {2, 512}).bits_per_weight(), bits) << name;
  }
}

TEST(I8Group, IsTwoArraysOfLlama2cExports) {
  const std::int8_t values[] = {10, -20, 127, 0, -128, 1, 2, 3, 4, 5};
  const float scales[] = {0.5f, 2.0f, 1.0f, 0.25f};
  const auto bytes = [](const auto& array) { return Bytes::copy_of(std::as_bytes(std::span(array)), "model.bin"); };
  const Codec& codec = codec_named("I8_GROUP");
  // [2, 5] in groups of 3: the second group of a row is short.
  const PackedTensor tensor =
      packed_parts("w", codec, {2, 5}, {.bits = 8, .group_size = 3}, {bytes(values), bytes(scales)});
  EXPECT_EQ(tensor.to_floats(), (std::vector<float>{5, -10, 63.5f, 0, -256, 1, 2, 3, 1, 1.25f}));
  EXPECT_EQ(tensor.columns(3, 5).to_floats(), (std::vector<float>{0, -256, 1, 1.25f}));
  EXPECT_EQ(tensor.rows(1, 2).columns(0, 3).to_floats(), (std::vector<float>{1, 2, 3}));
  EXPECT_THROW(tensor.columns(2, 5), Error);
  EXPECT_THROW(tensor.columns(0, 4), Error);
  EXPECT_EQ(tensor.bytes(), 10u + 16u);

  EXPECT_THROW(packed_parts("w", codec, {2, 5}, {.bits = 8, .group_size = 3}, {bytes(values)}), Error);
  EXPECT_THROW(packed_parts("w", codec, {2, 5}, {.bits = 8, .group_size = 2}, {bytes(values), bytes(scales)}), Error);
  EXPECT_THROW(packed_parts("w", codec, {2, 6}, {.bits = 8, .group_size = 3}, {bytes(values), bytes(scales)}), Error);
  for (const int size : {0, -1}) {
    EXPECT_THROW(packed_parts("w", codec, {2, 5}, {.bits = 8, .group_size = size}, {bytes(values), bytes(scales)}),
                 Error);
  }
  EXPECT_THROW(packed_blocks("w", codec, {2, 5}, bytes(values)), Error);
}

TEST(I8Group, RoundsEachGroupToItsOwnScale) {
  const std::vector<float> x = {1.27f, -0.5f, 0.012f, 127.0f, -63.4f, 0, 0, 0};
  const PackedTensor tensor = pack("w", codec_named("I8_GROUP"), {2, 4}, x, {.bits = 8, .group_size = 3});
  const std::vector<float> y = tensor.to_floats();
  const float expected[] = {1.27f, -0.5f, 0.01f, 127.0f, -63.4f, 0, 0, 0};
  const float steps[] = {0.01f, 0.01f, 0.01f, 1.0f, 63.4f / 127, 63.4f / 127, 63.4f / 127, 1.0f};
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(y[i], expected[i], 1e-5f * steps[i] * 127) << i;
}

TEST(ActivationFormat, HasNames) {
  EXPECT_EQ(activation_format_name(ActivationFormat::kF32), "f32");
  EXPECT_NE(activation_format_name(ActivationFormat::kQ8Block), activation_format_name(ActivationFormat::kF32));
}

TEST(Linear, TakesItsSizesFromTheWeight) {
  Linear linear;
  linear.weight = random_tensor(codec_named("Q8_0"), {3, 64});
  EXPECT_EQ(linear.out_features(), 3u);
  EXPECT_EQ(linear.in_features(), 64u);
}

}  // namespace
}  // namespace lathe
