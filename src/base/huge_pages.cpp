#include "base/huge_pages.h"

#include <sys/mman.h>

namespace lathe {

std::shared_ptr<std::byte> allocate_in_huge_pages(std::uint64_t bytes) {
  if (bytes > PTRDIFF_MAX - kHugePage) return nullptr;
  const std::uint64_t mapped = bytes + kHugePage;  // with room to begin at a multiple of kHugePage
  void* memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  const auto address = (reinterpret_cast<std::uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
  auto* first = reinterpret_cast<std::byte*>(address);
  ::madvise(first, bytes, MADV_HUGEPAGE);  // where it is refused, the memory is only slower
  return {first, [memory, mapped](std::byte*) { ::munmap(memory, mapped); }};
}

}  // namespace lathe
