#include "cli/edit_text.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::cli {
namespace {

bool is_word(std::string_view text, std::size_t at) { return text::is_word_char(text::decode_utf8(text, at).code); }

}  // namespace

void EditText::set(std::string text) {
  text_ = std::move(text);
  cursor_ = text_.size();
}

void EditText::insert(std::string_view text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

std::size_t EditText::right_of(std::size_t at) const {
  if (at >= text_.size()) return text_.size();
  return at + text::first_grapheme(std::string_view(text_).substr(at)).size();
}

std::size_t EditText::left_of(std::size_t at) const {
  // Clusters are found from the left only; those of one line do not reach into another.
  const std::size_t newline = at == 0 ? std::string::npos : text_.rfind('\n', at - 1);
  if (newline + 1 == at) return at == 0 ? 0 : newline;
  std::size_t begin = newline + 1;
  for (std::size_t next = begin; next < at; next = right_of(next)) begin = next;
  return begin;
}

std::size_t EditText::word_left() const {
  std::size_t at = cursor_;
  while (at > 0 && !is_word(text_, left_of(at))) at = left_of(at);
  while (at > 0 && is_word(text_, left_of(at))) at = left_of(at);
  return at;
}

std::size_t EditText::word_right() const {
  std::size_t at = cursor_;
  while (at < text_.size() && !is_word(text_, at)) at = right_of(at);
  while (at < text_.size() && is_word(text_, at)) at = right_of(at);
  return at;
}

std::size_t EditText::line_begin() const {
  const std::size_t newline = cursor_ == 0 ? std::string::npos : text_.rfind('\n', cursor_ - 1);
  return newline + 1;  // npos + 1 is 0
}

std::size_t EditText::line_end() const { return std::min(text_.find('\n', cursor_), text_.size()); }

void EditText::erase(std::size_t begin, std::size_t end) {
  text_.erase(begin, end - begin);
  cursor_ = begin;
}

}  // namespace lathe::cli
