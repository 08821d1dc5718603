#include "cli/line_editor.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "cli/common.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::cli {
namespace {

// One cluster as a terminal can show it, and the cells it takes.
struct Glyph {
  std::string shown;
  std::size_t cells = 0;
};

Glyph glyph_of(std::string_view cluster) {
  constexpr std::size_t kTabCells = 4;
  const auto first = static_cast<unsigned char>(cluster[0]);
  if (first == '\t') return {std::string(kTabCells, ' '), kTabCells};
  if (first < 0x20 || first == 0x7f) return {{'^', static_cast<char>(first ^ 0x40)}, 2};
  std::size_t cells = 0;
  for (std::size_t at = 0; at < cluster.size();) {
    const text::Utf8Char c = text::decode_utf8(cluster, at);
    cells += static_cast<std::size_t>(std::max(0, text::cell_width(c.code)));
    at += c.length;
  }
  return {std::string(cluster), cells};
}

// Calls f(offset, cluster, its glyph) from `begin` to `end`.
template <class F>
void each_cluster(const std::string& text, std::size_t begin, std::size_t end, F f) {
  while (begin < end) {
    const std::string_view cluster = text::first_grapheme(std::string_view(text).substr(begin));
    f(begin, cluster, glyph_of(cluster));
    begin += cluster.size();
  }
}

}  // namespace

LineEditor::Layout LineEditor::lay_out(std::size_t columns) const {
  // The last column stays free: terminals disagree on where the cursor is once it is written.
  const std::size_t width = std::max<std::size_t>(columns, 4) - 1;
  const std::string& text = edit_.text();
  Layout layout;
  std::size_t begin = 0, column = prompt_.size();
  const auto note_cursor = [&](std::size_t at) {
    if (at != edit_.cursor()) return;
    layout.cursor_row = layout.rows.size();
    layout.cursor_column = column;
  };
  each_cluster(text, 0, text.size(), [&](std::size_t at, std::string_view cluster, const Glyph& glyph) {
    if (cluster[0] == '\n') {
      note_cursor(at);
      layout.rows.push_back({begin, at});
      begin = at + cluster.size();
      column = 0;
      return;
    }
    if (column + glyph.cells > width) {
      layout.rows.push_back({begin, at});
      begin = at;
      column = 0;
    }
    note_cursor(at);
    column += glyph.cells;
  });
  note_cursor(text.size());
  layout.rows.push_back({begin, text.size()});
  return layout;
}

void LineEditor::draw() {
  const TerminalSize size = terminal_size();
  const Layout layout = lay_out(size.columns);
  // Of a text higher than the screen, the rows up to the cursor.
  const std::size_t top = layout.cursor_row < size.rows ? 0 : layout.cursor_row - size.rows + 1;
  const std::size_t bottom = std::min(layout.rows.size(), top + size.rows);
  std::string out;
  const auto up = [&](std::size_t rows) {
    if (rows > 0) fmt::format_to(std::back_inserter(out), "\x1b[{}A", rows);
  };
  up(drawn_row_);
  out += "\r\x1b[J";
  for (std::size_t row = top; row < bottom; ++row) {
    if (row == 0) out += prompt_;
    each_cluster(edit_.text(), layout.rows[row].begin, layout.rows[row].end,
                 [&](std::size_t, std::string_view, const Glyph& glyph) { out += glyph.shown; });
    if (row + 1 < bottom) out += "\r\n";
  }
  up(bottom - 1 - layout.cursor_row);
  out += '\r';
  if (layout.cursor_column > 0) fmt::format_to(std::back_inserter(out), "\x1b[{}C", layout.cursor_column);
  drawn_row_ = layout.cursor_row - top;
  print_text(out);
}

void LineEditor::draw_end(std::string_view after) {
  edit_.set(edit_.text());
  draw();
  print_text(after);
  print_text("\r\n");
}

void LineEditor::recall(std::size_t entry) {
  if (entry > history_.size()) return;
  if (recalled_ == history_.size()) draft_ = edit_.text();
  recalled_ = entry;
  edit_.set(entry == history_.size() ? draft_ : history_[entry]);
}

void LineEditor::remember(const std::string& text) {
  if (!text.empty() && (history_.empty() || history_.back() != text)) history_.push_back(text);
}

void LineEditor::edit(const KeyPress& press) {
  switch (press.key) {
    case Key::kText:
      return edit_.insert(press.text);
    case Key::kNewline:
      return edit_.insert("\n");
    case Key::kLeft:
      return edit_.move_left();
    case Key::kRight:
      return edit_.move_right();
    case Key::kHome:
      return edit_.move_home();
    case Key::kEnd:
      return edit_.move_end();
    case Key::kWordLeft:
      return edit_.move_word_left();
    case Key::kWordRight:
      return edit_.move_word_right();
    case Key::kBackspace:
      return edit_.erase_left();
    case Key::kDelete:
    case Key::kEndOrDelete:
      return edit_.erase_right();
    case Key::kEraseWordLeft:
      return edit_.erase_word_left();
    case Key::kEraseWordRight:
      return edit_.erase_word_right();
    case Key::kEraseToHome:
      return edit_.erase_to_home();
    case Key::kEraseToEnd:
      return edit_.erase_to_end();
    case Key::kUp:
      return recall(recalled_ == 0 ? history_.size() + 1 : recalled_ - 1);
    case Key::kDown:
      return recall(recalled_ + 1);
    case Key::kClearScreen:
      print_text("\x1b[H\x1b[2J");
      drawn_row_ = 0;
      return;
    default:
      return;
  }
}

Typed LineEditor::read(std::string_view prompt, std::string& text) {
  if (terminal_) {
    terminal_->wake();
  } else {
    terminal_.emplace();
  }
  prompt_ = prompt;
  edit_.set({});
  drawn_row_ = 0;
  recalled_ = history_.size();
  draft_.clear();
  const auto done = [&](Typed typed, std::string_view after = {}) {
    draw_end(after);
    terminal_->rest();
    text = edit_.text();
    return typed;
  };
  while (true) {
    if (!terminal_->pending()) draw();  // once for all that came at the same time
    const KeyPress press = read_key(*terminal_);
    switch (press.key) {
      case Key::kEnter:
        remember(edit_.text());
        return done(Typed::kText);
      case Key::kEndOrDelete:
        if (edit_.empty()) return done(Typed::kEnd);
        edit(press);
        break;
      case Key::kClosed:
        return done(edit_.empty() ? Typed::kEnd : Typed::kText);
      case Key::kInterrupt:
        return done(Typed::kInterrupt, "^C");
      case Key::kSignal:
        return done(Typed::kSignal);
      case Key::kStop:
        draw_end("^Z");
        terminal_->stop_process();
        drawn_row_ = 0;
        break;
      default:
        edit(press);
    }
  }
}

}  // namespace lathe::cli
