// Memory in huge pages: zeroed, aligned, all of it there.
#include "base/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace lathe {
namespace {

TEST(HugePages, AreZeroedAlignedAndWritableToTheEnd) {
  for (const std::uint64_t bytes : {std::uint64_t{1}, kHugePage, 3 * kHugePage + 5}) {
    const std::shared_ptr<std::byte> memory = allocate_in_huge_pages(bytes);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % kHugePage, 0u);
    EXPECT_TRUE(std::all_of(memory.get(), memory.get() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::fill(memory.get(), memory.get() + bytes, std::byte{1});
  }
}

TEST(HugePages, AreRefusedBeyondTheAddressSpace) {
  EXPECT_EQ(allocate_in_huge_pages(UINT64_MAX), nullptr);
  EXPECT_EQ(allocate_in_huge_pages(std::uint64_t{1} << 62), nullptr);
}

}  // namespace
}  // namespace lathe
