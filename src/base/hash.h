// A fast 64-bit hash of bytes (XXH3, by the xxHash library): for fingerprints and for checksums against damage. It is
// the same on every machine and in every run, and no defence against somebody who forges bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace lathe {

// `seed` may be the hash of what came before: a chain tells where one piece ends and the next begins.
std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0);

inline std::uint64_t hash64(std::string_view text, std::uint64_t seed = 0) {
  return hash64(std::as_bytes(std::span(text.data(), text.size())), seed);
}

template <class T>
std::uint64_t hash64_value(const T& value, std::uint64_t seed = 0) {
  static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
  return hash64(std::as_bytes(std::span(&value, 1)), seed);
}

}  // namespace lathe
