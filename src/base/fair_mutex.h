// A mutex that is handed over in the order of asking: a thread that takes it again and again, as the one that steps the
// engine does, cannot starve the others.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace lathe {

class FairMutex {
 public:
  void lock() {
    std::unique_lock guard(mutex_);
    const std::uint64_t ticket = next_++;
    turn_.wait(guard, [&] { return serving_ == ticket; });
  }
  void unlock() {
    {
      const std::lock_guard guard(mutex_);
      ++serving_;
    }
    turn_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  std::uint64_t next_ = 0, serving_ = 0;
};

}  // namespace lathe
