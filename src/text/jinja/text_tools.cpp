#include "text/jinja/text_tools.h"

#include <cstring>

#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {

Value as_string(Heap& heap, const Value& value) {
  return value.is_string() ? value : Value::string(heap, to_text(heap, value));
}

Value string_like(Heap& heap, const Value& like, std::string text) {
  return Value::string(heap, std::move(text), like.markup());
}

std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::size_t rfind_text(Heap& heap, std::string_view text, std::string_view needle) {
  heap.step(std::uint64_t{text.size()} * needle.size() / 16384);
  return text.rfind(needle);
}

std::string replace_text(Heap& heap, std::string_view text, std::string_view from, std::string_view to,
                         std::int64_t count) {
  TextBuilder out(heap);
  std::size_t at = 0;
  while (count != 0) {
    const std::size_t found = find_text(text, from, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at));
    out.append(to);
    at = found + from.size();
    if (count > 0) --count;
    if (from.empty()) {
      // Between all characters, and at both ends.
      if (at >= text.size()) break;
      const unsigned bytes = decode_at(text, at).bytes;
      out.append(text.substr(at, bytes));
      at += bytes;
    }
  }
  out.append(text.substr(at));
  return out.take();
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    std::size_t next = at + c.bytes;
    const bool ends = (c.value >= 0x0A && c.value <= 0x0D) || (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                      c.value == 0x2028 || c.value == 0x2029;
    if (ends) {
      if (c.value == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.push_back(text.substr(start, (keep_ends ? next : at) - start));
      start = next;
    }
    at = next;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string centered(Heap& heap, std::string_view text, std::int64_t width, std::string_view fill) {
  const auto size = static_cast<std::int64_t>(code_point_count(text));
  const std::int64_t missing = width > size ? width - size : 0;
  const std::int64_t left = missing / 2 + (missing & width & 1);
  TextBuilder out(heap);
  for (std::int64_t i = 0; i < left; ++i) out.append(fill);
  out.append(text);
  for (std::int64_t i = left; i < missing; ++i) out.append(fill);
  return out.take();
}

}  // namespace lathe::jinja
