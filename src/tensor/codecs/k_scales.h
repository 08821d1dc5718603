// The 12 bytes in which Q4_K and Q5_K keep eight 6-bit scales and eight 6-bit minima, and Q3_K sixteen 6-bit scales.
#pragma once

#include <cstdint>

namespace lathe {

// Q4_K and Q5_K. Bytes 0..3: scales 0..3; bytes 4..7: minima 0..3 (bits 0..5 each). Bytes 8..11: low four bits of
// scale 4 + j (low nibble) and minimum 4 + j (high nibble), whose high two bits are bits 6..7 of bytes j and 4 + j.
inline void unpack_scales_and_minima(const std::uint8_t* bytes, std::uint8_t* scales, std::uint8_t* minima) {
  for (int j = 0; j < 4; ++j) {
    scales[j] = bytes[j] & 63;
    minima[j] = bytes[4 + j] & 63;
    scales[4 + j] = static_cast<std::uint8_t>((bytes[8 + j] & 15) | bytes[j] >> 6 << 4);
    minima[4 + j] = static_cast<std::uint8_t>(bytes[8 + j] >> 4 | bytes[4 + j] >> 6 << 4);
  }
}

inline void pack_scales_and_minima(const std::uint8_t* scales, const std::uint8_t* minima, std::uint8_t* bytes) {
  for (int j = 0; j < 4; ++j) {
    bytes[j] = static_cast<std::uint8_t>(scales[j] | scales[4 + j] >> 4 << 6);
    bytes[4 + j] = static_cast<std::uint8_t>(minima[j] | minima[4 + j] >> 4 << 6);
    bytes[8 + j] = static_cast<std::uint8_t>((scales[4 + j] & 15) | (minima[4 + j] & 15) << 4);
  }
}

// Q3_K, scales stored with 32 added. Bytes 0..7: low four bits of scale j (low nibble) and 8 + j (high nibble). Bytes
// 8..11: bits 2k, 2k + 1 of byte 8 + j are the high two bits of scale 4 k + j.
inline void unpack_signed_scales(const std::uint8_t* bytes, std::int8_t* scales) {
  for (int j = 0; j < 16; ++j) {
    const int low = bytes[j % 8] >> j / 8 * 4 & 15;
    const int high = bytes[8 + j % 4] >> j / 4 * 2 & 3;
    scales[j] = static_cast<std::int8_t>((low | high << 4) - 32);
  }
}

inline void pack_signed_scales(const std::int8_t* scales, std::uint8_t* bytes) {
  for (int j = 0; j < 12; ++j) bytes[j] = 0;
  for (int j = 0; j < 16; ++j) {
    const int stored = scales[j] + 32;
    bytes[j % 8] |= static_cast<std::uint8_t>((stored & 15) << j / 8 * 4);
    bytes[8 + j % 4] |= static_cast<std::uint8_t>(stored >> 4 << j / 4 * 2);
  }
}

}  // namespace lathe
