// Memory of the CPU backend: zeroed 64-byte aligned buffers whose untouched pages cost nothing, and scratch space that
// only grows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>

namespace lathe::kernels::cpu {

using ByteCounter = std::shared_ptr<std::atomic<std::uint64_t>>;

// Zeroed; adds its size to `counter` until it is freed. Throws Error when there is not enough memory.
std::shared_ptr<void> allocate_zeroed(std::uint64_t bytes, const ByteCounter& counter);

// Keeps `bytes` added to `counter` while it lives.
class ByteCharge {
 public:
  ByteCharge(ByteCounter counter, std::uint64_t bytes) : counter_(std::move(counter)), bytes_(bytes) {
    counter_->fetch_add(bytes_, std::memory_order_relaxed);
  }
  ~ByteCharge() { counter_->fetch_sub(bytes_, std::memory_order_relaxed); }
  ByteCharge(const ByteCharge&) = delete;
  ByteCharge& operator=(const ByteCharge&) = delete;

 private:
  ByteCounter counter_;
  std::uint64_t bytes_;
};

// Memory for many buffers that live about as long as each other (weights), cut from large pieces, so that whole huge
// pages hold them: small pages cost a product a tenth of its speed.
class Arena {
 public:
  // Zeroed and 64-byte aligned; a piece is freed when the last buffer in it is, the newest when more is asked for then.
  std::shared_ptr<std::byte> allocate(std::uint64_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<std::byte> piece_;
  std::uint64_t used_ = 0, size_ = 0;
};

// A buffer whose content is lost whenever it is asked for again.
class Scratch {
 public:
  template <class T>
  T* get(std::size_t count) {
    return static_cast<T*>(bytes(count * sizeof(T)));
  }

 private:
  struct Free {
    void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{64}); }
  };
  void* bytes(std::size_t count);
  std::unique_ptr<void, Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace lathe::kernels::cpu
