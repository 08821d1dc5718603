#include "base/hash.h"

// Everything comes from the header: no library to find at run time.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lathe {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace lathe
