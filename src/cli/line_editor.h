// Typing on a terminal: a prompt, and a text that can be edited, recalled from earlier ones and pasted over several
// lines. Works on UTF-8 whatever the locale, on texts of any length (a terminal's own line editing stops at 4,096
// bytes). What is typed between two texts is kept, unechoed, for the next one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/terminal.h"
#include "cli/edit_text.h"
#include "cli/keys.h"

namespace lathe::cli {

// How a text ended: Enter, Ctrl-D on an empty text, Ctrl-C, SIGTERM.
enum class Typed { kText, kEnd, kInterrupt, kSignal };

class LineEditor {
 public:
  // Needs terminal_is_editable(). `text` is what was typed, also before a Ctrl-C.
  Typed read(std::string_view prompt, std::string& text);

 private:
  struct Layout {
    struct Row {
      std::size_t begin, end;  // bytes of the text
    };
    std::vector<Row> rows;
    std::size_t cursor_row = 0, cursor_column = 0;
  };

  void edit(const KeyPress& press);
  void recall(std::size_t entry);
  void remember(const std::string& text);
  Layout lay_out(std::size_t columns) const;
  void draw();
  void draw_end(std::string_view after);

  std::optional<RawTerminal> terminal_;  // from the first text on
  std::string prompt_;
  EditText edit_;
  std::size_t drawn_row_ = 0;  // the cursor's row on the screen, below the first row of the text
  std::vector<std::string> history_;
  std::size_t recalled_ = 0;  // the entry of the history that is shown; its size: none
  std::string draft_;         // what was typed before an entry was recalled
};

}  // namespace lathe::cli
