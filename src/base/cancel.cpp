#include "base/cancel.h"

#include <signal.h>
#include <unistd.h>

#include "base/error.h"

namespace lathe {
namespace {

void on_interrupt(int signal) {
  if (interrupt_token().cancelled()) ::_exit(128 + signal);
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

void install_interrupt_handler() {
  interrupt_token();  // constructed before a signal can arrive
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace lathe
