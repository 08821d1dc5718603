// The terminal on standard input and output: its size, and keys as they are pressed.
#pragma once

#include <termios.h>

#include <chrono>
#include <cstddef>

namespace lathe {

struct TerminalSize {
  std::size_t columns = 80, rows = 24;
};
// Of standard output; the default where it is no terminal or does not say.
TerminalSize terminal_size();

// Whether standard input and output are one terminal that understands the usual escape sequences (TERM is set and is
// not "dumb").
bool terminal_is_editable();

// While one lives, standard input gives every key at once and unechoed, so that what is typed ahead is kept as it was
// typed. It begins awake: Ctrl-C and Ctrl-Z are keys like others, and the terminal marks what is pasted ("bracketed
// paste"). At rest they are signals again, and nothing is marked. At most one at a time.
class RawTerminal {
 public:
  RawTerminal();
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  // What read() returns beside a byte (0 to 255).
  static constexpr int kEnd = -1;      // no more input
  static constexpr int kResized = -2;  // the terminal has another size now
  static constexpr int kSignal = -3;   // SIGTERM or SIGINT came
  static constexpr int kNothing = -4;  // no key within `patience`
  int read(std::chrono::milliseconds patience = kForever);
  static constexpr std::chrono::milliseconds kForever{-1};
  // Whether a key waits to be read.
  bool pending() const;

  void rest();
  void wake();

  // Stops the process as Ctrl-Z does; returns, awake, when it is continued.
  void stop_process();

 private:
  void enter();
  void leave();
  termios resting_ = {}, awake_ = {};
  bool is_awake_ = false;
};

}  // namespace lathe
