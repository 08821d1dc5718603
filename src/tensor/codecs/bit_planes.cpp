#include "tensor/codecs/bit_planes.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace lathe {
namespace {

// Bit j of the index as byte j.
constexpr std::array<std::uint64_t, 256> kSpread = [] {
  std::array<std::uint64_t, 256> table{};
  for (std::uint64_t byte = 0; byte < 256; ++byte) {
    for (int j = 0; j < 8; ++j) table[byte] |= (byte >> j & 1) << 8 * j;
  }
  return table;
}();

}  // namespace

void read_planes(const std::byte* planes, int bits, std::uint64_t plane, std::uint64_t first,
                 std::span<std::uint8_t> levels) {
  for (std::size_t i = 0; i < levels.size(); i += 8, ++first) {
    std::uint64_t eight = 0;
    for (int p = 0; p < bits; ++p) {
      eight |= kSpread[std::to_integer<std::size_t>(planes[static_cast<std::uint64_t>(p) * plane + first])] << p;
    }
    std::memcpy(levels.data() + i, &eight, std::min<std::size_t>(8, levels.size() - i));
  }
}

void write_planes(std::span<const std::uint8_t> levels, int bits, std::byte* planes) {
  const std::uint64_t plane = plane_bytes(levels.size());
  for (int p = 0; p < bits; ++p) {
    for (std::size_t i = 0; i < levels.size(); i += 8) {
      unsigned byte = 0;
      for (std::size_t j = 0; j < 8 && i + j < levels.size(); ++j) byte |= (levels[i + j] >> p & 1u) << j;
      planes[static_cast<std::uint64_t>(p) * plane + i / 8] = static_cast<std::byte>(byte);
    }
  }
}

}  // namespace lathe
