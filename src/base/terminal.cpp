#include "base/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/cancel.h"
#include "base/process.h"

namespace lathe {
namespace {

volatile sig_atomic_t resized = 0;

void on_resize(int) { resized = 1; }

// What the terminal was like, for the process that a second Ctrl-C ends.
termios at_first = {};

void restore() { ::tcsetattr(STDIN_FILENO, TCSANOW, &at_first); }

constexpr std::string_view kMarkPastes = "\x1b[?2004h", kLeavePastes = "\x1b[?2004l";

// A terminal that is gone takes no bytes; whoever writes text next hears of it.
void tell(std::string_view sequence) {
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, sequence.data(), sequence.size());
}

}  // namespace

TerminalSize terminal_size() {
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

bool terminal_is_editable() {
  const char* kind = std::getenv("TERM");
  return stdin_is_terminal() && stdout_is_terminal() && kind != nullptr && *kind != '\0' &&
         std::string_view(kind) != "dumb";
}

RawTerminal::RawTerminal() { enter(); }
RawTerminal::~RawTerminal() { leave(); }

void RawTerminal::enter() {
  struct sigaction action = {};
  action.sa_handler = on_resize;  // without SA_RESTART, so that a waiting read() hears of it
  ::sigaction(SIGWINCH, &action, nullptr);
  ::tcgetattr(STDIN_FILENO, &at_first);
  before_hard_exit(restore);
  resting_ = at_first;
  resting_.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR | IGNCR | IXON | ISTRIP);
  resting_.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | IEXTEN);
  resting_.c_cc[VMIN] = 1;
  resting_.c_cc[VTIME] = 0;
  awake_ = resting_;
  awake_.c_lflag &= ~static_cast<tcflag_t>(ISIG);
  wake();
}

void RawTerminal::wake() {
  if (std::exchange(is_awake_, true)) return;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &awake_);
  tell(kMarkPastes);
}

void RawTerminal::rest() {
  if (!std::exchange(is_awake_, false)) return;
  tell(kLeavePastes);
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &resting_);
}

void RawTerminal::leave() {
  rest();
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &at_first);
  before_hard_exit(nullptr);
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGWINCH, &action, nullptr);
}

bool RawTerminal::pending() const {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) == 1;
}

int RawTerminal::read(std::chrono::milliseconds patience) {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  while (true) {
    if (interrupt_token().cancelled()) return kSignal;
    if (resized != 0) {
      resized = 0;
      return kResized;
    }
    const int ready = ::poll(&input, 1, static_cast<int>(patience.count()));
    if (ready == 0) return kNothing;
    if (ready < 0) {
      if (errno == EINTR) continue;
      return kEnd;
    }
    unsigned char byte = 0;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n == 1) return byte;
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    return kEnd;
  }
}

void RawTerminal::stop_process() {
  leave();
  ::raise(SIGTSTP);
  enter();
}

}  // namespace lathe
