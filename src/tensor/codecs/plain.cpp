#include "tensor/codecs/plain.h"

#include <bit>
#include <cstring>

#include "base/half.h"

namespace lathe {
namespace {

// Reads or writes elements one memcpy at a time, so that the bytes may lie at any address; compilers vectorize this.
template <class Element, float (*kConvert)(Element)>
void decode(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    Element element;
    std::memcpy(&element, blocks + i * sizeof(Element), sizeof(Element));
    out[i] = kConvert(element);
  }
}

template <class Element, Element (*kConvert)(float)>
void encode(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const Element element = kConvert(values[i]);
    std::memcpy(blocks + i * sizeof(Element), &element, sizeof(Element));
  }
}

template <class Element>
float to_float(Element element) {
  return static_cast<float>(element);
}

float bool_to_float(std::uint8_t byte) { return byte != 0 ? 1.0f : 0.0f; }

double to_double(float value) { return value; }

void decode_f32(const std::byte* blocks, float* out, std::uint64_t count) {
  if (count != 0) std::memcpy(out, blocks, count * sizeof(float));
}

void encode_f32(const float* values, std::byte* blocks, std::uint64_t count, const float*) {
  if (count != 0) std::memcpy(blocks, values, count * sizeof(float));
}

// Without branches, so that it vectorizes: as a float, the shifted bits of a half are 2^112 times too small, subnormals
// included; infinity and NaN then only lack the high bits of their exponent.
float float_from_half_bits(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7fffu;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude << 13) * 0x1p112f);
  const std::uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(bits | special | static_cast<std::uint32_t>(half & 0x8000u) << 16);
}

template <class Integer>
constexpr BlockFormat integer_format(std::string_view name, std::string_view description, int ggml_type) {
  return {name, description, 1, sizeof(Integer), ggml_type, decode<Integer, to_float<Integer>>, nullptr};
}

}  // namespace

const BlockFormat kF64 = {
    "F64", "IEEE double precision", 1, 8, 28, decode<double, to_float<double>>, encode<double, to_double>};
const BlockFormat kF32 = {"F32", "IEEE single precision", 1, 4, 0, decode_f32, encode_f32};
const BlockFormat kF16 = {"F16",
                          "IEEE half precision",
                          1,
                          2,
                          1,
                          decode<std::uint16_t, float_from_half_bits>,
                          encode<std::uint16_t, half_from_float>};
const BlockFormat kBF16 = {"BF16",
                           "bfloat16, the upper half of single precision",
                           1,
                           2,
                           30,
                           decode<std::uint16_t, float_from_bfloat>,
                           encode<std::uint16_t, bfloat_from_float>};

const BlockFormat kI64 = integer_format<std::int64_t>("I64", "64-bit signed integers", 27);
const BlockFormat kI32 = integer_format<std::int32_t>("I32", "32-bit signed integers", 26);
const BlockFormat kI16 = integer_format<std::int16_t>("I16", "16-bit signed integers", 25);
const BlockFormat kI8 = integer_format<std::int8_t>("I8", "8-bit signed integers", 24);
const BlockFormat kU64 = integer_format<std::uint64_t>("U64", "64-bit unsigned integers", -1);
const BlockFormat kU32 = integer_format<std::uint32_t>("U32", "32-bit unsigned integers", -1);
const BlockFormat kU16 = integer_format<std::uint16_t>("U16", "16-bit unsigned integers", -1);
const BlockFormat kU8 = integer_format<std::uint8_t>("U8", "8-bit unsigned integers", -1);
const BlockFormat kBool = {"BOOL", "truth values, one byte each",       1,      1,
                           -1,     decode<std::uint8_t, bool_to_float>, nullptr};

}  // namespace lathe
