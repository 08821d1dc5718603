#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "base/huge_pages.h"

namespace lathe::kernels::cpu {
namespace {

constexpr std::uint64_t kMapFrom = 1 << 20;  // smaller buffers come from the heap
constexpr std::uint64_t kArenaPiece = 64 << 20;

[[noreturn]] void out_of_memory(std::uint64_t bytes) {
  throw Error(fmt::format("there is no memory for a buffer of {:.1f} MiB", static_cast<double>(bytes) / (1 << 20)),
              "cpu", "use a smaller context, batch or model");
}

}  // namespace

std::shared_ptr<void> allocate_zeroed(std::uint64_t bytes, const ByteCounter& counter) {
  const std::uint64_t size = std::max<std::uint64_t>(64, checked_add(bytes, 63, "the size of a buffer") / 64 * 64);
  if (size > PTRDIFF_MAX) out_of_memory(size);
  void* memory = nullptr;
  if (size >= kMapFrom) {
    memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) out_of_memory(size);
  } else {
    memory = ::operator new (size, std::align_val_t{64}, std::nothrow);
    if (!memory) out_of_memory(size);
    std::memset(memory, 0, size);
  }
  counter->fetch_add(size, std::memory_order_relaxed);
  return {memory, [size, counter](void* freed) {
            if (size >= kMapFrom) {
              ::munmap(freed, size);
            } else {
              ::operator delete (freed, std::align_val_t{64});
            }
            counter->fetch_sub(size, std::memory_order_relaxed);
          }};
}

std::shared_ptr<std::byte> Arena::allocate(std::uint64_t bytes) {
  const std::uint64_t wanted = checked_add(bytes, 63, "the size of a buffer") / 64 * 64;
  const std::lock_guard lock(mutex_);
  if (piece_.use_count() == 1) piece_.reset();  // only buffers share it, and none is left
  if (!piece_ || wanted > size_ - used_) {
    const std::uint64_t size = std::max(wanted, kArenaPiece);
    piece_ = allocate_in_huge_pages(size);
    size_ = piece_ ? size : 0, used_ = 0;
    if (!piece_) out_of_memory(size);
  }
  std::shared_ptr<std::byte> buffer(piece_, piece_.get() + used_);
  used_ += wanted;
  return buffer;
}

void* Scratch::bytes(std::size_t count) {
  if (count > capacity_) {
    const std::size_t size = (std::max(count, capacity_ + capacity_ / 2) + 63) / 64 * 64;
    memory_.reset();
    capacity_ = 0;
    memory_.reset(::operator new (size, std::align_val_t{64}, std::nothrow));
    if (!memory_) out_of_memory(size);
    capacity_ = size;
  }
  return memory_.get();
}

}  // namespace lathe::kernels::cpu
