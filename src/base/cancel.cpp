#include "base/cancel.h"

#include <signal.h>
#include <unistd.h>

#include "base/error.h"

namespace lathe {
namespace {

std::atomic<bool> terminated{false};
std::atomic<void (*)()> last_act{nullptr};

void on_interrupt(int signal) {
  if (signal == SIGTERM) terminated.store(true, std::memory_order_relaxed);
  if (interrupt_token().cancelled()) {
    if (const auto act = last_act.load()) act();
    ::_exit(128 + signal);
  }
  interrupt_token().cancel();
}

}  // namespace

void CancelToken::check() const {
  if (cancelled()) throw Cancelled();
}

CancelToken& interrupt_token() {
  static CancelToken token;
  return token;
}

bool termination_requested() { return terminated.load(std::memory_order_relaxed); }

void before_hard_exit(void (*act)()) { last_act = act; }

void install_interrupt_handler() {
  interrupt_token();  // constructed before a signal can arrive
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace lathe
