#include "cli/keys.h"

#include <chrono>
#include <utility>

#include "text/utf8.h"

namespace lathe::cli {
namespace {

// Bytes of one key come together; after a pause an escape stands for itself.
constexpr std::chrono::milliseconds kSameKey{50};
// Within a paste the terminal may be far away.
constexpr std::chrono::milliseconds kSamePaste{2000};
constexpr std::string_view kPasteEnd = "\x1b[201~";

constexpr int control(char letter) { return letter & 0x1f; }

KeyPress no_key(int result) {
  switch (result) {
    case RawTerminal::kEnd:
      return {Key::kClosed, {}};
    case RawTerminal::kResized:
      return {Key::kResized, {}};
    case RawTerminal::kSignal:
      return {Key::kSignal, {}};
    default:
      return {};
  }
}

Key control_key(int byte) {
  switch (byte) {
    case '\r':
    case '\n':  // what was typed ahead in the terminal's own mode ends so
      return Key::kEnter;
    case 0x7f:
    case control('H'):
      return Key::kBackspace;
    case control('A'):
      return Key::kHome;
    case control('B'):
      return Key::kLeft;
    case control('C'):
      return Key::kInterrupt;
    case control('D'):
      return Key::kEndOrDelete;
    case control('E'):
      return Key::kEnd;
    case control('F'):
      return Key::kRight;
    case control('K'):
      return Key::kEraseToEnd;
    case control('L'):
      return Key::kClearScreen;
    case control('N'):
      return Key::kDown;
    case control('P'):
      return Key::kUp;
    case control('U'):
      return Key::kEraseToHome;
    case control('W'):
      return Key::kEraseWordLeft;
    case control('Z'):
      return Key::kStop;
    default:
      return Key::kNone;
  }
}

// ESC and one byte: the Alt or Meta keys.
Key meta_key(int byte) {
  switch (byte) {
    case '\r':
    case '\n':
      return Key::kNewline;
    case 'b':
      return Key::kWordLeft;
    case 'f':
      return Key::kWordRight;
    case 'd':
      return Key::kEraseWordRight;
    case 0x7f:
    case control('H'):
      return Key::kEraseWordLeft;
    default:
      return Key::kNone;
  }
}

// The keys of "ESC [ parameters final" and "ESC O final".
Key sequence_key(std::string_view parameters, int final) {
  const bool by_word = parameters.ends_with(";5") || parameters.ends_with(";3");  // with Ctrl or Alt
  switch (final) {
    case 'A':
      return Key::kUp;
    case 'B':
      return Key::kDown;
    case 'C':
      return by_word ? Key::kWordRight : Key::kRight;
    case 'D':
      return by_word ? Key::kWordLeft : Key::kLeft;
    case 'H':
      return Key::kHome;
    case 'F':
      return Key::kEnd;
    case '~':
      break;
    default:
      return Key::kNone;
  }
  const std::string_view number = parameters.substr(0, parameters.find(';'));
  if (number == "1" || number == "7") return Key::kHome;
  if (number == "4" || number == "8") return Key::kEnd;
  if (number == "3") return by_word ? Key::kEraseWordRight : Key::kDelete;
  return Key::kNone;
}

// Line ends as '\n', whatever the clipboard had.
std::string with_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      out += '\n';
    }
  }
  return out;
}

KeyPress read_paste(RawTerminal& terminal) {
  std::string pasted;
  while (!pasted.ends_with(kPasteEnd)) {
    const int byte = terminal.read(kSamePaste);
    if (byte == RawTerminal::kResized) continue;
    if (byte < 0) return no_key(byte);
    pasted += static_cast<char>(byte);
  }
  pasted.resize(pasted.size() - kPasteEnd.size());
  return {Key::kText, text::to_valid_utf8(with_newlines(pasted))};
}

KeyPress read_escape(RawTerminal& terminal) {
  const int introducer = terminal.read(kSameKey);
  if (introducer < 0) return no_key(introducer);
  if (introducer != '[' && introducer != 'O') return {meta_key(introducer), {}};
  std::string parameters;
  constexpr std::size_t kLongest = 32;
  while (parameters.size() < kLongest) {
    const int byte = terminal.read(kSameKey);
    if (byte < 0) return no_key(byte);
    if (byte >= 0x40 && byte <= 0x7e) {
      if (byte == '~' && parameters == "200") return read_paste(terminal);
      return {sequence_key(parameters, byte), {}};
    }
    parameters += static_cast<char>(byte);
  }
  return {};
}

KeyPress read_character(RawTerminal& terminal, int first) {
  std::string bytes(1, static_cast<char>(first));
  while (text::incomplete_utf8_suffix(bytes) > 0) {
    const int byte = terminal.read(kSameKey);
    if (byte < 0) break;
    bytes += static_cast<char>(byte);
  }
  return {Key::kText, text::to_valid_utf8(bytes)};
}

}  // namespace

KeyPress read_key(RawTerminal& terminal) {
  constexpr int kEscape = 0x1b, kTab = '\t';
  const int byte = terminal.read();
  if (byte < 0) return no_key(byte);
  if (byte == kEscape) return read_escape(terminal);
  if (byte == kTab || (byte >= 0x20 && byte != 0x7f)) return read_character(terminal, byte);
  return {control_key(byte), {}};
}

}  // namespace lathe::cli
