// Small unsigned integers as bit planes, so that any width is the same code: plane 0 (the lowest bit of every integer),
// then plane 1, ..., each of ceil(n / 8) bytes with integer 8 i + j in bit j of byte i; bits past the last are zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lathe {

constexpr std::uint64_t plane_bytes(std::uint64_t n) { return n / 8 + (n % 8 != 0); }

// The integers [8 first, 8 first + levels.size()) from `bits` planes that lie `plane` bytes apart.
void read_planes(const std::byte* planes, int bits, std::uint64_t plane, std::uint64_t first,
                 std::span<std::uint8_t> levels);

// All of them, to bits * plane_bytes(levels.size()) bytes.
void write_planes(std::span<const std::uint8_t> levels, int bits, std::byte* planes);

}  // namespace lathe
