// Cooperative cancellation: long work polls a token; Ctrl-C sets the process-wide one.
#pragma once

#include <atomic>

namespace lathe {

class CancelToken {
 public:
  void cancel() { flag_.store(true, std::memory_order_relaxed); }
  // For interactive programs that go on after an interruption.
  void reset() { flag_.store(false, std::memory_order_relaxed); }
  bool cancelled() const { return flag_.load(std::memory_order_relaxed); }
  // Throws Cancelled once cancel() was called.
  void check() const;

 private:
  std::atomic<bool> flag_{false};
};

// The token that Ctrl-C (SIGINT) and SIGTERM set after install_interrupt_handler(). A second Ctrl-C ends the process
// at once.
CancelToken& interrupt_token();
void install_interrupt_handler();
// Called, from the signal's handler, before a second Ctrl-C ends the process; null: nothing. Only what is safe in a
// handler.
void before_hard_exit(void (*act)());
// Whether SIGTERM has come: a program that goes on after Ctrl-C ends then all the same.
bool termination_requested();

}  // namespace lathe
