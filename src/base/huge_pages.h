// Memory of its own for large buffers that are read again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace lathe {

inline constexpr std::uint64_t kHugePage = 2 << 20;

// `bytes` zeroed bytes that begin at a multiple of kHugePage, in huge pages where the system has them; pages that are
// not touched cost nothing. nullptr when there is no memory for them.
std::shared_ptr<std::byte> allocate_in_huge_pages(std::uint64_t bytes);

}  // namespace lathe
