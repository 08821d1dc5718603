// Key presses out of the bytes a terminal sends: characters, control keys, escape sequences (ECMA-48 and xterm's).
#pragma once

#include <string>
#include <string_view>

#include "base/terminal.h"

namespace lathe::cli {

enum class Key {
  kNone,  // nothing that has a meaning here
  kText,  // KeyPress::text: a character, or what was pasted
  kEnter,
  kNewline,  // Alt-Enter: a line break inside the text
  kLeft,
  kRight,
  kUp,
  kDown,
  kHome,
  kEnd,
  kWordLeft,
  kWordRight,
  kBackspace,
  kDelete,
  kEraseWordLeft,
  kEraseWordRight,
  kEraseToHome,
  kEraseToEnd,
  kClearScreen,
  kInterrupt,    // Ctrl-C
  kEndOrDelete,  // Ctrl-D
  kStop,         // Ctrl-Z
  kResized,      // no key: the terminal has another size
  kClosed,       // no key: input has ended
  kSignal        // no key: SIGTERM or SIGINT came
};

struct KeyPress {
  Key key = Key::kNone;
  std::string text;  // valid UTF-8
};

KeyPress read_key(RawTerminal& terminal);

}  // namespace lathe::cli
