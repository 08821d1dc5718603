#include "tensor/codecs/iq4.h"

#include "base/half.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/k_super_block.h"

namespace lathe {
namespace {

void put_32(const std::uint8_t* nibbles, float scale, float* out) {
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * kIq4Levels[nibbles[j] & 15];
    out[j + 16] = scale * kIq4Levels[nibbles[j] >> 4];
  }
}

void decode_nl(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 32; ++b, out += 32) {
    const auto block = load_block<BlockIQ4_NL>(blocks, b);
    put_32(block.qs, float_from_half(block.d), out);
  }
}

void decode_xs(const std::byte* blocks, float* out, std::uint64_t count) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const auto block = load_block<BlockIQ4_XS>(blocks, b);
    const float d = float_from_half(block.d);
    for (int part = 0; part < 8; ++part, out += 32) {
      const int s = (block.scales_l[part / 2] >> (part % 2 * 4) & 15) | (block.scales_h >> 2 * part & 3) << 4;
      put_32(block.qs + 16 * part, d * static_cast<float>(s - 32), out);
    }
  }
}

// The level index for every half unit from -128 to 128: the midpoints between levels are multiples of one half.
constexpr auto kIndexOfHalfUnit = [] {
  std::array<std::uint8_t, 513> index{};
  for (int half_unit = -256, nearest = 0; half_unit <= 256; ++half_unit) {
    while (nearest < 15 && half_unit >= kIq4Levels[nearest] + kIq4Levels[nearest + 1]) ++nearest;
    index[half_unit + 256] = static_cast<std::uint8_t>(nearest);
  }
  return index;
}();

std::uint8_t nearest_index(float value) {
  value = value > -128.0f ? value : -128.0f;
  value = value < 128.0f ? value : 128.0f;
  return kIndexOfHalfUnit[static_cast<int>((value + 128.0f) * 2.0f)];
}

// For scale_search.h: q is a level's value.
struct Iq4LevelSet {
  float lowest = kIq4Levels[0];
  float nearest(float value) const { return kIq4Levels[nearest_index(value)]; }
  Lanes nearest(Lanes values) const {
    float levels[kLanes];
    for (int k = 0; k < kLanes; ++k) levels[k] = nearest(values[k]);
    return Lanes::of(levels);
  }
};

constexpr Candidates kCandidates = {-21.0f, 2.8f};

void pack_32(const std::int8_t* levels, std::uint8_t* nibbles) {
  for (int j = 0; j < 16; ++j) {
    nibbles[j] = static_cast<std::uint8_t>(nearest_index(levels[j]) | nearest_index(levels[j + 16]) << 4);
  }
}

void encode_nl(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 32; ++b) {
    const ErrorWeights<32, 32> weights(importance == nullptr ? nullptr : importance + 32 * b);
    const float* x = values + 32 * b;
    BlockIQ4_NL block;
    block.d = half_from_float(fit_scale<32>(x, weights.of, Iq4LevelSet{}, kCandidates));
    const float inverse = safe_reciprocal(float_from_half(block.d));
    std::int8_t levels[32];
    for (int i = 0; i < 32; ++i) levels[i] = kIq4Levels[nearest_index(x[i] * inverse)];
    pack_32(levels, block.qs);
    store_block(blocks, b, block);
  }
}

void encode_xs(const float* values, std::byte* blocks, std::uint64_t count, const float* importance) {
  for (std::uint64_t b = 0; b < count / 256; ++b) {
    const SymmetricSuperBlock<32> fit(values + 256 * b, importance == nullptr ? nullptr : importance + 256 * b,
                                      Iq4LevelSet{}, {-32.0f, 31.0f}, kCandidates);
    BlockIQ4_XS block{};
    block.d = fit.d;
    for (int part = 0; part < 8; ++part) {
      const int s = fit.scales[part] + 32;
      block.scales_l[part / 2] |= static_cast<std::uint8_t>((s & 15) << part % 2 * 4);
      block.scales_h |= static_cast<std::uint16_t>(s >> 4 << 2 * part);
      pack_32(fit.q + 32 * part, block.qs + 16 * part);
    }
    store_block(blocks, b, block);
  }
}

}  // namespace

const BlockFormat kIQ4_NL = {"IQ4_NL", "4-bit uneven levels, a half scale per 32", 32, 18, 20, decode_nl, encode_nl};
const BlockFormat kIQ4_XS = {"IQ4_XS", "4-bit uneven levels, a 6-bit scale per 32", 256, 136, 23, decode_xs, encode_xs};

}  // namespace lathe
