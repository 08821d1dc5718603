// A text being typed: the bytes, and a cursor that moves by what a reader sees as characters (grapheme clusters) and
// by words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lathe::cli {

class EditText {
 public:
  const std::string& text() const { return text_; }
  std::size_t cursor() const { return cursor_; }  // byte offset, always between two clusters
  bool empty() const { return text_.empty(); }
  bool at_end() const { return cursor_ == text_.size(); }

  // Replaces everything; the cursor goes to the end.
  void set(std::string text);
  void insert(std::string_view text);

  void move_left() { cursor_ = left_of(cursor_); }
  void move_right() { cursor_ = right_of(cursor_); }
  void move_word_left() { cursor_ = word_left(); }
  void move_word_right() { cursor_ = word_right(); }
  void move_home() { cursor_ = line_begin(); }
  void move_end() { cursor_ = line_end(); }

  void erase_left() { erase(left_of(cursor_), cursor_); }
  void erase_right() { erase(cursor_, right_of(cursor_)); }
  void erase_word_left() { erase(word_left(), cursor_); }
  void erase_word_right() { erase(cursor_, word_right()); }
  void erase_to_home() { erase(line_begin(), cursor_); }
  void erase_to_end() { erase(cursor_, line_end()); }

 private:
  std::size_t left_of(std::size_t at) const;
  std::size_t right_of(std::size_t at) const;
  std::size_t word_left() const;
  std::size_t word_right() const;
  std::size_t line_begin() const;
  std::size_t line_end() const;
  void erase(std::size_t begin, std::size_t end);

  std::string text_;
  std::size_t cursor_ = 0;
};

}  // namespace lathe::cli
