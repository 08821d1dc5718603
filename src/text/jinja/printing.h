// How values look as text: Python's str() and repr(), and JSON as json.dumps writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace lathe::jinja {

// str(value); undefined prints as nothing.
void print(TextBuilder& out, const Value& value);
std::string to_text(Heap& heap, const Value& value);
// repr(value).
void print_repr(TextBuilder& out, const Value& value, int depth = 0);
// repr of a float: the shortest digits that read back the same ("0.1", "1e+16", "inf").
std::string float_text(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level's indentation; absent: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
void print_json(TextBuilder& out, const Value& value, const JsonStyle& style);

// JSON text to a value on `heap`; errors name `what`, with line and column.
Value parse_json_value(Heap& heap, std::string_view text, std::string_view what);

}  // namespace lathe::jinja
